package compat

// difference is where what ktrail records is not what the API server records, and why. The
// table is in docs/capture.md; a difference that no call shows is one no more.
type difference struct {
	Name                     string
	Fields                   []string // of an event, by the beginnings of their paths
	Where, Theirs, Ours, Why string
}

var differences = []difference{
	{
		Name: "sent body", Fields: []string{"requestObject."},
		Where: "`requestObject` of a create or update", Theirs: "the object as it was decoded: unknown fields gone, `kind`, `apiVersion` and defaults filled in",
		Ours: "the JSON that the client sent", Why: "only the API knows its types; what the client sent is what the client did",
	},
	{
		Name: "delete options", Fields: []string{"requestObject.apiVersion"},
		Where: "`requestObject` of a delete or deletecollection", Theirs: "`apiVersion: meta.k8s.io/__internal`",
		Ours: "the version that the client sent", Why: "upstream encodes its internal type; nobody can send that version",
	},
	{
		Name: "refused body", Fields: []string{"requestObject.", "objectRef.name", "annotations.capture.ktrail.io/request-body"},
		Where: "a body that the API read and could not decode", Theirs: "no `requestObject`, no name", Ours: "the JSON, and the name in it; if it is none, a note in `annotations`",
		Why: "what somebody tried is worth knowing, and nobody hides a request behind a broken body",
	},
	{
		Name: "protobuf request", Fields: []string{"requestObject.", "annotations.capture.ktrail.io/request-body"},
		Where: "a request in protobuf", Theirs: "`requestObject` as JSON", Ours: "a note in `annotations`; `objectRef` is complete",
		Why: "protobuf cannot be read without its schema",
	},
	{
		Name: "protobuf answer", Fields: []string{"responseObject.", "annotations.capture.ktrail.io/response-body"},
		Where: "an answer in protobuf", Theirs: "`responseObject` as JSON", Ours: "a note in `annotations`; a Status is recorded as JSON",
		Why: "as above",
	},
	{
		Name: "own answer", Fields: []string{"responseObject", "responseStatus.", "annotations.capture.ktrail.io/response-body"},
		Where: "an answer that a handler wrote without the API server's library; its own, where `Accept` asks for what it cannot give", Theirs: "the code",
		Ours: "`responseObject`; of a Status the reason and details", Why: "what the client was told does not depend on who wrote it, nor may a client hide it by its `Accept`",
	},
	{
		Name: "unencoded answer", Fields: []string{"responseObject", "responseStatus."},
		Where: "an object that cannot be written in the format that `Accept` asks for", Theirs: "`responseObject` is the object, which nobody got", Ours: "the Status of the 406 that the client got", Why: "the log says what was answered",
	},
	{
		Name: "long-running object", Fields: []string{"responseObject", "responseStatus."},
		Where: "an object as the successful answer to a long-running request, or at a path outside of the API", Theirs: "`responseObject`", Ours: "nothing of the body",
		Why: "from outside it cannot be told from a stream, from what a pod behind `proxy` answers, or from a file",
	},
	{
		Name: "late annotation", Fields: []string{"annotations."},
		Where: "`ResponseStarted` of a failed long-running request", Theirs: "what is known at the header of its answer", Ours: "what is known at the first byte, with an annotation that is made in between", Why: "the byte begins what tells the reason",
	},
	{
		Name: "flushed", Fields: []string{"responseStatus."},
		Where: "an answer of which nothing but a flush is written", Theirs: "`Connection closed early`, or a code that came too late; a `ResponseStarted` at the end or, after a panic, none", Ours: "the 200 that the client has", Why: "it has its answer, and the connection may be open",
	},
	{
		Name: "informational", Fields: []string{"responseStatus."},
		Where: "a handler that sends a 1xx before its answer", Theirs: "the 1xx", Ours: "the answer", Why: "a 1xx is not the answer (RFC 9110, 15.2)",
	},
	{
		Name:  "slow", // without the trackers in the chain, since nobody knows which request of a test takes that long
		Where: "a request of over half a second", Theirs: "annotations `apiserver.latency.k8s.io/…`", Ours: "none; the times of the stages tell the whole", Why: "they tell of layers inside the API server",
	},
	{
		Name: "refusal", Fields: []string{"answer"},
		Where: "not the event, but the answer to a request that goes no further (401, or 400 for a `timeout` that cannot be read)", Theirs: "in the format that `Accept` asks for", Ours: "JSON", Why: "clients read the `Content-Type`",
	},
}
