"""`hideseek completion bash|zsh|fish`: a script that lets a shell complete the command line.

    vocabulary -> case VERB: plain, dotted, values -> script

The words stand in the script, so that a key press starts no Python. Keys come first, values after
"=", and dotted keys once a dot is typed; paths where no value is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hideseek.config import config_folder
from hideseek.errors import UserError
from hideseek.vocabulary import Words, vocabulary

USAGE = """hideseek completion bash|zsh|fish

  Prints a script that completes verbs, settings, choices and folders. After an update, print it
  anew.

  Examples

    eval "$(hideseek completion bash)"         in ~/.bashrc
    eval "$(hideseek completion zsh)"          in ~/.zshrc
    hideseek completion fish > ~/.config/fish/completions/hideseek.fish"""

BASH = r"""# Completion of hideseek for bash: eval "$(hideseek completion bash)"
_hideseek() {
    local line=${COMP_LINE:0:COMP_POINT} verb=${COMP_WORDS[1]}
    local cur=${line##*[[:space:]]} plain= dotted= values= path= words= word skip= IFS=$' \t\n'
    local -  # the shell has its own settings back at the end
    set -f   # what was typed, and the names of files, are no patterns
    COMPREPLY=()
    case $verb in
@CASES@
    esac
    # What stands before the last of these characters is not replaced.
    [[ $COMP_WORDBREAKS == *=* && $cur == *=* ]] && skip=${cur%%=*}=
    if (( COMP_CWORD == 1 )); then
        words="@VERBS@"
    else
        case $cur in
            *=*,*) for word in $values; do
                    [[ $word == "${cur%%=*}="* ]] && words+=" ${cur%,*},${word#*=}"
                done ;;
            *=*) words=$values ;;
            *.*) words=$dotted ;;
            *) words=$plain ;;
        esac
    fi
    if [[ -n $cur || -z $path || $COMP_CWORD != 2 ]]; then
        # Not compgen -W: it would run what stands in backquotes in the text that was typed.
        for word in $words; do
            [[ $word == "$cur"* ]] || continue
            [[ $word == *[=.] ]] || word+=" "
            COMPREPLY+=("${word#"$skip"}")
        done
    fi
    if (( ${#COMPREPLY[@]} == 0 )) && [[ $cur == *=* || ( -n $path && $COMP_CWORD == 2 ) ]]; then
        compopt -o filenames +o nospace 2>/dev/null
        [[ $cur == *=* && -z $skip ]] && skip=no
        IFS=$'\n'
        for word in $(compgen -f -- "${cur#*=}"); do
            [[ $skip == no ]] && word=${cur%%=*}=$word
            COMPREPLY+=("$word")
        done
    fi
}
complete -o nospace -F _hideseek hideseek
"""

ZSH = r"""#compdef hideseek
# Completion of hideseek for zsh: eval "$(hideseek completion zsh)"
_hideseek() {
    local -a plain dotted values known
    local path_first=
    if (( CURRENT == 2 )); then
        compadd -- @VERBS@
        return
    fi
    case $words[2] in
@CASES@
    esac
    if [[ $PREFIX == *=* ]]; then
        known=(${(M)values:#${PREFIX%%=*}=*})
        known=(${known#*=})
        if (( $#known )); then
            compset -P '*[=,]'
            compadd -- $known
        else
            compset -P '*='
            _files
        fi
    elif [[ $PREFIX == *.* && -z $path_first ]]; then
        compadd -S '' -- $dotted
    else
        compadd -S '' -- ${(M)plain:#*[=.]}
        compadd -- ${plain:#*[=.]}
        if [[ -n $path_first ]] && (( CURRENT == 3 )); then
            [[ $PREFIX == *.* ]] && compadd -S '' -- $dotted
            _files
        fi
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _hideseek hideseek
"""

FISH = r"""# Completion of hideseek for fish: hideseek completion fish | source
function __hideseek_words
    set -l before (commandline -opc)
    set -l cur (commandline -ct)
    set -l plain
    set -l dotted
    set -l values
    set -l path_first
    if test (count $before) -lt 2
        printf '%s\n' @VERBS@
        return
    end
    switch $before[2]
@CASES@
    end
    if string match -q -- '*=*' $cur
        set -l key (string split -m 1 = -- $cur)[1]
        set -l known (string match -- "$key=*" $values)
        if test (count $known) -eq 0
            for name in (__fish_complete_path (string replace -r '^[^=]*=' '' -- $cur))
                printf '%s\n' "$key=$name"
            end
        else if string match -q -- '*,*' $cur
            set -l head (string replace -r ',[^,]*$' ',' -- $cur)
            printf '%s\n' $head(string replace -- "$key=" '' $known)
        else
            printf '%s\n' $known
        end
        return
    end
    if string match -q -- '*.*' $cur
        printf '%s\n' $dotted
    else
        printf '%s\n' $plain
    end
    if test -n "$path_first" -a (count $before) -eq 2
        __fish_complete_path $cur
    end
end
complete -c hideseek -e
complete -c hideseek -f -a '(__hideseek_words)'
"""


def completion(words: Sequence[str]) -> int:
    """Print the script of a shell.

    Args:
        words: of the command line, after the verb.

    Returns:
        The exit status.

    Raises:
        UserError: no shell that is known.
    """
    if not words or set(words) & {"-h", "--help"}:
        print(USAGE)
        return 0 if words else 2
    if len(words) != 1 or words[0] not in SHELLS:
        raise UserError(f"'{' '.join(words)}': give one of {', '.join(SHELLS)}")
    print(script(words[0], vocabulary(config_folder())), end="")
    return 0


def script(shell: str, words: Mapping[str, Words]) -> str:
    """Write the script of a shell.

    Args:
        shell: one of `SHELLS`.
        words: of each verb; of letters that mean nothing to a shell.
    """
    template, case = SHELLS[shell]
    cases = "\n".join(case(verb, each) for verb, each in words.items())
    return template.replace("@VERBS@", " ".join(words)).replace("@CASES@", cases)


def _bash(verb: str, words: Words) -> str:
    lists = (f'{name}="{" ".join(getattr(words, name))}"' for name in ("plain", "dotted", "values"))
    return f"        {verb}) {' '.join(lists)} path={int(words.path) or ''} ;;"


def _zsh(verb: str, words: Words) -> str:
    lists = (f"{name}=({' '.join(getattr(words, name))})" for name in ("plain", "dotted", "values"))
    return f"        {verb}) {'; '.join(lists)}; path_first={int(words.path) or ''} ;;"


def _fish(verb: str, words: Words) -> str:
    lines = [f"        case {verb}"]
    for name in ("plain", "dotted", "values"):
        lines.append(f"            set {name} {' '.join(getattr(words, name))}")
    if words.path:
        lines.append("            set path_first 1")
    return "\n".join(lines)


SHELLS: dict[str, tuple[str, Callable[[str, Words], str]]] = {
    "bash": (BASH, _bash),
    "zsh": (ZSH, _zsh),
    "fish": (FISH, _fish),
}
"""Template of the script, and how it spells the words of a verb."""
