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
}
