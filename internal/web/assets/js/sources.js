// The Sources view.

/** @type {import("./view.js").View} */
export const view = {
  own: [],
  mount() {},
  update() {},
  unmount() {},
};
