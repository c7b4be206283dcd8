// Package simulate owns the price of an audit policy: what it would have recorded
// of traffic that an audit log tells of, and which small changes would make it
// cheaper.
//
// A [Simulation] takes events and gives a [Report]. What the log tells is counted
// exactly, to the byte: an event at a lower level is its own line without the
// bodies. What the log cannot tell (bodies that were never recorded, stages that its
// own policy left out) is estimated, kept apart, and given as a range with the
// reason in the notes. Of requests that the log does not have at all nothing is said.
//
// Memory is bounded whatever the log holds: names in a log are the clients' to
// choose, so tables have a size, fold their lightest rows into one when it is
// reached, and the report says so.
package simulate
