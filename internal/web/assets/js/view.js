// What a view is to the shell around it.
//
// A view is one of the pages of the navigation: Events, Objects, Actors, Sources.
// Each is a document that the server renders whole; its module is js/NAME.js and
// exports `view`, a View. The shell (main.js) has the header, the filter, the
// range, the URL, live follow, keys and menus, and tells the view what to draw:
//
//   mount    once, with the element that holds what the server rendered
//   update   for every change of state, and once after mount with `first`
//   unmount  when the page goes away: ends streams, timers, requests
//
// State is in the URL and nowhere else. A view changes it by app.go and draws
// what update then says, so that back and forward are the same road. An update
// whose signal is aborted is out of date: hand the signal to every fetch. The
// view's element is aria-busy until the promise that update returned is settled.

/**
 * @typedef {object} State what the URL says
 * @property {URLSearchParams} params all of it: the shared parameters and the view's own, without those that are bound
 * @property {string} path of the page, such as /actors/alice
 * @property {string | null} cel box, controls and facets together as one filter; null while it is wrong, and then nothing is asked
 * @property {string} base the same without what was chosen in facets
 * @property {number} from start of the range in ms since 1970, 0 if it is open; "2h" is read when the question is asked
 * @property {number} to end of the range, exclusive, 0 if it is open
 * @property {string} since the same as the API reads it, to the microsecond; "" if it is open
 * @property {string} until
 * @property {string} last ID of the newest event before the question was asked; live goes on behind it
 * @property {boolean} live
 */

/**
 * @typedef {object} Why
 * @property {boolean} first the first update after mount; the server has rendered this state
 * @property {boolean} asked the question is another one, or asked again: what is shown must be asked anew
 * @property {boolean} zone the time zone was switched: <time> elements are rewritten already, canvases are not
 * @property {AbortSignal} signal aborted by the next update that asks, and by unmount
 */

/**
 * @typedef {object} Live how a view follows what is committed, while the URL says so
 * @property {(state: State) => string | null} url of the stream of server-sent events; null for none
 * @property {string} event its name of the events to take
 * @property {(data: string, state: State) => void} take called for each; draw at most once a frame
 */

/**
 * @typedef {object} App what the shell does for a view
 * @property {(change: (p: URLSearchParams) => void, how?: {path?: string, replace?: boolean, again?: boolean}) => void} go
 *   to another state: change edits the parameters (box and controls as they stand); path is another page of the same view
 * @property {(change: (p: URLSearchParams) => void) => void} note writes what is bound into the address as it is: no entry of
 *   history, nothing is asked, and what is being written in the box stays as it is
 * @property {() => void} again asks the same once more; what is being written in the box is not part of it
 * @property {() => State} state what is drawn
 * @property {(column: string, value: string, not: boolean) => void} addCondition to the filter
 * @property {(view: string, change?: (p: URLSearchParams) => void, path?: string) => string} link
 *   the address of another view with the shared state and what change adds: app.link("objects", (p) => p.set("object", o))
 */

/**
 * @typedef {object} Exported what the export menu offers; what is left out is the state's
 * @property {number[] | string[]} [ids] of events that were chosen one by one
 * @property {string} [filter] CEL, where the view shows less than the state's filter
 * @property {string[]} [columns] of a CSV
 * @property {string} [words] says what it is, a sentence
 */

/**
 * @typedef {object} View
 * @property {string[]} own the URL's parameters that no other view knows; the same as Own in its page_NAME.go
 * @property {string[]} [bound] parameters that belong to the question and go with it: what was selected among its answers. They are in the
 *   address alone: neither in a State's params nor in what is sent to the server, whose links, one in each row, would be as long. The view reads them with current()
 * @property {(root: HTMLElement, app: App) => void} mount
 * @property {(state: State, before: State, why: Why) => void | Promise<void>} update
 * @property {() => void} unmount
 * @property {(e: KeyboardEvent) => boolean} [key] a key outside of fields that the shell has no use for; true if it was taken
 * @property {() => boolean} [close] Esc: closes what is open; true if something was
 * @property {Live} [live]
 * @property {() => Exported} [exported]
 */

export {};
