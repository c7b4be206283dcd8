// Ours, not the library's: keeps the type check of the page from reading its code.
declare const uPlot: any;
export default uPlot;
