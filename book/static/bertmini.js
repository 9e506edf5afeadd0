// bertviz draws its model view with a fixed width; with a view box it takes the width of the column.
new MutationObserver(() => {
  for (const svg of document.querySelectorAll('[id^="bertviz-"] svg[width="970"]:not(.fitted)')) {
    svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
    svg.classList.add("fitted");
  }
}).observe(document.documentElement, { childList: true, subtree: true });
