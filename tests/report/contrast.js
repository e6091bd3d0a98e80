// Contrast of every text that shows, by WCAG 2: list of {text, ratio}.
const channel = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const numbers = (colour) => {
  const found = colour.match(/[\d.]+/g).map(Number);
  return { rgb: found.slice(0, 3).map((value) => value / 255), alpha: found[3] ?? 1 };
};
const luminance = (colour) => {
  const [r, g, b] = colour.map(channel);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const { rgb, alpha } = numbers(getComputedStyle(at).backgroundColor);
    if (alpha === 1) return rgb;
    if (alpha > 0) throw new Error("a ground that shines through is not measured");
  }
  return [1, 1, 1];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const measured = [];
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || !element.checkVisibility() || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
  const pair = [luminance(numbers(getComputedStyle(element).color).rgb), luminance(ground(element))];
  measured.push({ text, ratio: (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05) });
}
return measured;
