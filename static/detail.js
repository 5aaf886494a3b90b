// Shows what a drawn shape says, its <title>, beside it: when it gets the focus or is tapped, where a hover's hint never comes.
// Works without this file too: the tables beneath the pictures hold the same.
(() => {
  const tip = document.createElement("p");
  tip.className = "tip";
  tip.setAttribute("aria-hidden", "true");
  let shape = null;
  let away = null;

  // The title of the shape that says something: itself, or the drawing around it.
  const telling = (target) => {
    for (let at = target; at instanceof SVGElement; at = at.parentNode) {
      const title = [...at.children].find((child) => child.nodeName === "title");
      if (title?.textContent.trim()) return title;
    }
    return null;
  };
  const hide = () => {
    shape = null;
    tip.remove();
  };
  const show = (target) => {
    const title = telling(target);
    if (!title) return hide();
    const found = title.parentNode;
    // Sent away, it stays away until something else was looked at, also when a refresh gives the focus back.
    if (found === away) return;
    away = null;
    shape = found;
    [tip.style.left, tip.style.top] = ["0", "0"];
    tip.textContent = title.textContent;
    document.body.append(tip);
    const [box, own] = [found.getBoundingClientRect(), tip.getBoundingClientRect()];
    const wide = document.documentElement.clientWidth;
    const left = Math.min(Math.max(box.left + box.width / 2 - own.width / 2, 8), wide - own.width - 8);
    // Beneath it, for on a phone the name stands above; else where there is room.
    const below = box.bottom + 8;
    const top = below + own.height <= innerHeight ? below : Math.max(box.top - own.height - 8, 8);
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${top + scrollY}px`;
  };

  addEventListener("focusin", (event) => show(event.target));
  addEventListener("focusout", hide);
  addEventListener("click", (event) => {
    away = null;
    show(event.target);
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !shape) return;
    away = shape;
    hide();
  });
  // A page brought up to date may have moved the shape, given it to somebody else or taken it away.
  const again = () => shape && (shape.isConnected ? show(shape) : hide());
  addEventListener("resize", again);
  for (const part of document.querySelectorAll("[data-live]")) {
    new MutationObserver(again).observe(part, { attributes: true, characterData: true, childList: true, subtree: true });
  }
})();

// Puts a button beside each command that copies it. Where nothing may be copied there is none.
(() => {
  if (!navigator.clipboard) return;
  const add = (command) => {
    if (command.querySelector(".copy")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.querySelector("code").textContent.trim());
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not allowed";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    command.append(button);
  };
  const all = () => document.querySelectorAll("pre[data-copy]").forEach(add);
  all();
  for (const part of document.querySelectorAll("[data-live]")) {
    new MutationObserver(all).observe(part, { childList: true, subtree: true });
  }
})();
// A part of a timeline is chosen by dragging over it: the page then shows that time. Its buttons do without this file.
(() => {
  let start = null;
  let mark = null;
  const plot = (picture) => picture.querySelector(".tl-back").getBoundingClientRect();
  const share = (event, box) => Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  const stop = () => {
    mark?.remove();
    start = mark = null;
  };
  addEventListener("pointerdown", (event) => {
    const picture = event.button === 0 ? event.target.closest?.(".tl[data-window]") : null;
    if (!picture || event.target.closest("a")) return;
    const box = plot(picture);
    if (event.clientX < box.left) return;
    start = { picture, at: share(event, box) };
  });
  addEventListener("pointermove", (event) => {
    if (!start) return;
    const box = plot(start.picture);
    const at = share(event, box);
    if (!mark && Math.abs(at - start.at) * box.width < 8) return;
    if (!mark) {
      mark = document.createElement("div");
      mark.className = "chosen";
      start.picture.append(mark);
      getSelection()?.removeAllRanges();
    }
    const left = box.left - start.picture.getBoundingClientRect().left;
    mark.style.left = `${left + Math.min(at, start.at) * box.width}px`;
    mark.style.width = `${Math.abs(at - start.at) * box.width}px`;
  });
  addEventListener("pointerup", (event) => {
    if (!start || !mark) return stop();
    const [from, to] = start.picture.querySelector("[data-axis]").dataset.axis.split(" ").map(Number);
    const ends = [start.at, share(event, plot(start.picture))].sort((a, b) => a - b);
    const [first, last] = ends.map((part) => Math.round(from + part * (to - from)));
    stop();
    if (last - first >= 1000) location.assign(`${location.pathname}?from=${first}&to=${last}#h-tl`);
  });
  addEventListener("pointercancel", stop);
  addEventListener("keydown", (event) => event.key === "Escape" && stop());
})();
// Escape closes the explanation of a word until the pointer or the focus has left it. It opens without this file.
(() => {
  const open = (event) => event.target.closest?.(".term[data-closed]")?.removeAttribute("data-closed");
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const term of document.querySelectorAll(".term:is(:hover,:focus-within)")) term.dataset.closed = "";
  });
  document.addEventListener("pointerout", (event) => {
    if (!event.target.closest?.(".term")?.contains(event.relatedTarget)) open(event);
  });
  document.addEventListener("focusout", open);
})();
