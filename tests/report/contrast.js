// Pairs of ink and paper below the contrast that WCAG 2.2 AA asks: [how many were looked at, those that are poor].
() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const paper = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour[3] === 1) return light(colour);
    }
    return 1;
  };
  const poor = [];
  let looked = 0;
  const judge = (ink, behind, least, what) => {
    const [high, low] = [light(ink), behind].sort((x, y) => y - x);
    looked++;
    if ((high + 0.05) / (low + 0.05) < least) poor.push([what, ink]);
  };
  for (const node of document.querySelectorAll("body *")) {
    if (node.closest("script, .chart, .skip, .hidden, option") || !node.checkVisibility()) continue;
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    judge(parse(getComputedStyle(node).color), paper(node), 4.5, `${node.tagName}.${node.className} ${node.textContent.slice(0, 40)}`);
  }
  for (const node of document.querySelectorAll(".chart text")) {
    judge(parse(getComputedStyle(node).fill), paper(node.closest(".chart")), 4.5, node.textContent);
  }
  for (const node of document.querySelectorAll("#models path")) {
    const colour = node.getAttribute("stroke") || node.getAttribute("fill");
    judge([1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)), paper(node), 3, colour);
  }
  return [looked, poor];
}
