// Keys without a modifier: a key clicks what has it as its accesskey. The page works without this script.
"use strict";

let sent = false;

document.addEventListener("submit", (event) => {
  if (sent) {
    event.preventDefault(); // a key pressed twice is one vote
  }
  sent = true;
});

window.addEventListener("pageshow", () => {
  sent = false; // the browser went back to this page
});

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.repeat || !/^[a-z]$/i.test(event.key)) {
    return;
  }
  const target = document.querySelector(`main [accesskey="${event.key.toLowerCase()}"]`);
  if (target) {
    event.preventDefault();
    target.click();
  }
});
