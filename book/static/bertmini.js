// bertviz draws its model view with a fixed width; with a view box it takes the width of the column.
new MutationObserver(() => {
  for (const svg of document.querySelectorAll('[id^="bertviz-"] svg[width="970"]:not(.fitted)')) {
    svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
    svg.classList.add("fitted");
  }
}).observe(document.documentElement, { childList: true, subtree: true });

// A claim, and a line of the list of claims, may break where the page is narrow; other outputs keep their columns.
document.addEventListener("DOMContentLoaded", () => {
  for (const output of document.querySelectorAll(".cell_output pre")) {
    output.innerHTML = output.innerHTML.replace(
      /^((?:<span><\/span>)?(?:✓|\d+\.) .*)\n?/gm, '<span class="claim">$1</span>');
  }
});
