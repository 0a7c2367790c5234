"use strict";

// Light or dark: as the system has it, until the button says otherwise. This file is run before
// the page is drawn, so that the page does not flash.

const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

function showTheme() {
  const chosen = localStorage.getItem("theme");
  const theme = chosen ?? (dark.matches ? "dark" : "light");
  if (chosen) root.dataset.theme = theme;
  const button = document.getElementById("theme");
  if (button) {
    const other = theme === "dark" ? "Light" : "Dark";
    button.firstChild.data = theme === "dark" ? "☀ " : "☾ ";
    button.lastChild.textContent = other;
    button.ariaLabel = `${other} colours`;
  }
  return theme;
}

showTheme();
dark.addEventListener("change", showTheme);
addEventListener("DOMContentLoaded", () => {
  showTheme();
  document.getElementById("theme").addEventListener("click", () => {
    localStorage.setItem("theme", showTheme() === "dark" ? "light" : "dark");
    showTheme();
  });
});
