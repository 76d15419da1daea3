// Sends the form as soon as a picture is dropped on the page, pasted or chosen. Without this file its button does.
"use strict";
const form = document.getElementById("form");
const input = form.elements.picture;
const state = document.getElementById("state");

function send(files) {
  if (files.length !== 1) {
    state.textContent = `Expected one picture, got ${files.length || "none"}.`;
  } else if (files[0].size > Number(form.dataset.limit)) {
    state.textContent = `Expected a file of at most ${form.dataset.limit >> 20} MB, got ${files[0].size >> 20} MB.`;
  } else {
    input.files = files;
    state.textContent = `Looking at ${files[0].name} …`;
    form.submit();
  }
}

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  send(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) send(event.clipboardData.files);
});
input.addEventListener("change", () => send(input.files));
window.addEventListener("pageshow", () => { state.textContent = ""; });
