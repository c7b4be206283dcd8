// Package query owns the filter language, the questions (search, histogram,
// top, history, actor) and the Source interface that answers are made from.
//
// A filter is CEL over the columns of [audit.Event]. [Parse] checks it once and
// gives two back ends the same small tree ([Expr]): [Filter.Match] in this
// package, and the SQL of a [Source]. Both give the same answer on every event;
// what one of the two could not express is refused by Parse, with the place.
//
// [Engine] answers [Questions] from any Source. The package does no I/O, and
// takes every value in an event for hostile text.
package query
