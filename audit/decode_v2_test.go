//go:build goexperiment.jsonv2 && unix

package audit_test

import json "encoding/json/v2"

func jsonv2() []contender {
	return []contender{{"json-v2", func(line []byte, c *columns) error { return json.Unmarshal(line, c) }}}
}
