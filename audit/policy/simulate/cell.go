package simulate

import (
	"encoding/binary"
	"strings"

	"github.com/ktrail/ktrail/audit"
	"github.com/ktrail/ktrail/audit/policy"
)

// cell is all requests that look the same to the rules that matter here: who, what,
// and which rules decide.
type cell struct {
	user, groups                       string // groups apart by NUL
	verb, group, resource, subresource string
	path                               string // of a non-resource request: its beginning
	folded                             uint8  // what is not the cell's own any more: 1 user, 2 resource, 3 verb
	noUser                             bool
	rule, oldRule                      int32
	level                              policy.Level // as recorded

	seen, bytes    [stageCount]int64
	finals, denied int64
	metadata       int64 // bytes of the final events at level Metadata
	now, was       side
	bodies         recordedBodies // of now
	lost           Loss
}

// key writes the cell's key.
func (c *cell) appendKey(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(c.rule))
	b = binary.LittleEndian.AppendUint32(b, uint32(c.oldRule))
	b = append(b, byte(c.level), c.folded)
	for _, s := range []string{c.user, c.groups, c.verb, c.group, c.resource, c.subresource, c.path} {
		b = append(b, s...)
		b = append(b, 0xff) // no UTF-8 has it
	}
	return b
}

// cell finds the row of an event, or makes it.
func (s *shard) cell(e *audit.Event, a *policy.Attributes, level policy.Level, rule, oldRule int) *cell {
	b := binary.LittleEndian.AppendUint32(s.key[:0], uint32(int32(rule)))
	b = binary.LittleEndian.AppendUint32(b, uint32(int32(oldRule)))
	b = append(b, byte(level), 0)
	b = append(b, e.User...)
	b = append(b, 0xff)
	for i, g := range e.Groups {
		if i > 0 {
			b = append(b, 0)
		}
		b = append(b, g...)
	}
	b = append(append(b, 0xff), e.Verb...)
	b = append(append(b, 0xff), e.APIGroup...)
	b = append(append(b, 0xff), e.Resource...)
	b = append(append(b, 0xff), e.Subresource...)
	b = append(b, 0xff)
	path := ""
	if a.NonResource {
		path = beginning(a.Path)
		b = append(b, path...)
	}
	b = append(b, 0xff)
	s.key = b
	if c := s.cells.rows[string(b)]; c != nil {
		return c
	}
	c := &cell{
		user: short(e.User), groups: shortList(e.Groups), verb: short(e.Verb), group: short(e.APIGroup),
		resource: short(e.Resource), subresource: short(e.Subresource), path: strings.Clone(path), noUser: a.NoUser,
		rule: int32(rule), oldRule: int32(oldRule), level: level,
	}
	if !a.NonResource && c.resource == "" {
		c.resource = "-" // a resource request to a group's root
	}
	// Under the key of what was cut, so that names that are alike only at their
	// beginning share a row.
	key := string(c.appendKey(nil))
	if own := s.cells.rows[key]; own != nil {
		return own
	}
	s.cells.put(key, c)
	return c
}

// beginning is what tells non-resource paths apart here: the first part.
func beginning(path string) string {
	i := strings.IndexByte(path[min(1, len(path)):], '/')
	if i < 0 {
		return path[:min(len(path), maxName)]
	}
	return path[:min(i+1, maxName)]
}

// shortList joins groups, no more of them than anybody has with good reason.
func shortList(groups []string) string {
	const most = 32
	var b strings.Builder
	for i, g := range groups[:min(len(groups), most)] {
		if i > 0 {
			b.WriteByte(0)
		}
		b.WriteString(short(g))
	}
	return b.String()
}

func (c *cell) weight() int64 { return c.bytes[0] + c.bytes[1] + c.bytes[2] + c.bytes[3] }

// foldCell forgets the user first, then the resource, then the verb.
func foldCell(key string, c *cell) (string, *cell) {
	n := &cell{verb: c.verb, rule: c.rule, oldRule: c.oldRule, level: c.level, folded: c.folded + 1}
	switch c.folded {
	case 0:
		n.group, n.resource, n.subresource, n.path = c.group, c.resource, c.subresource, c.path
	case 1:
	case 2:
		n.verb = ""
	default:
		return key, c
	}
	return string(n.appendKey(nil)), n
}

func (c *cell) merge(o *cell) {
	for i := range c.seen {
		c.seen[i] += o.seen[i]
		c.bytes[i] += o.bytes[i]
	}
	c.finals += o.finals
	c.denied += o.denied
	c.metadata += o.metadata
	c.now.merge(&o.now)
	c.was.merge(&o.was)
	c.bodies.merge(&o.bodies)
	c.lost.merge(&o.lost)
}

// others is the name of what was folded.
const others = "(others)"

func (c *cell) userName() string {
	if c.folded > 0 {
		return others
	}
	return c.user
}

func (c *cell) verbName() string {
	if c.folded > 2 {
		return others
	}
	return c.verb
}

// resourceName is resource/subresource.group as in deployments/scale.apps, or a path.
func (c *cell) resourceName() string {
	switch {
	case c.folded > 1:
		return others
	case c.resource == "":
		return c.path
	}
	name := c.resource
	if c.subresource != "" {
		name += "/" + c.subresource
	}
	if c.group != "" {
		name += "." + c.group
	}
	return name
}

// client is a user with the agents that cost most.
type client struct {
	user   string
	seen   int64 // bytes in the log
	events int64
	bytes  int64
	agents []agent
}

// agent is a program and the bytes that its requests take in the log.
type agent struct {
	name  string
	bytes int64
}

// maxAgents is how many programs of a user are told apart: of those, the heaviest is
// right if no flood of others pushed it out.
const maxAgents = 8

func (s *shard) client(e *audit.Event, bytes int64) {
	user := e.User
	if len(user) > maxName {
		user = short(user)
	}
	c := s.clients.rows[user]
	if c == nil {
		c = &client{user: strings.Clone(user)}
		s.clients.put(c.user, c)
	}
	n := int64(len(e.Raw)) + 1
	c.seen += n
	if bytes > 0 {
		c.events++
		c.bytes += bytes
	}
	c.agent(e.Agent, n)
}

func (c *client) agent(name string, n int64) {
	if len(name) > maxName {
		name = short(name)
	}
	least := 0
	for i := range c.agents {
		if c.agents[i].name == name {
			c.agents[i].bytes += n
			return
		}
		if c.agents[i].bytes < c.agents[least].bytes {
			least = i
		}
	}
	if len(c.agents) < maxAgents {
		c.agents = append(c.agents, agent{strings.Clone(name), n})
		return
	}
	// Space-Saving (Metwally et al., 2005): the new one takes over the lightest's count.
	c.agents[least] = agent{strings.Clone(name), c.agents[least].bytes + n}
}

func (c *client) weight() int64 { return c.seen }

// foldedClient is no user's name: it is no UTF-8.
const foldedClient = "\xff"

func foldClient(key string, c *client) (string, *client) {
	if key == foldedClient {
		return key, c
	}
	return foldedClient, &client{user: others}
}

func (c *client) merge(o *client) {
	c.seen += o.seen
	c.events += o.events
	c.bytes += o.bytes
	for _, a := range o.agents {
		c.agent(a.name, a.bytes)
	}
}

// kind is what bodies are alike.
type kind struct {
	verb   string
	failed int
	folded bool
	bodies
}

func (s *shard) kind(e *audit.Event, failed int) *kind {
	s.key = appendKind(s.key[:0], e.APIGroup, e.Resource, e.Subresource, e.Verb, failed)
	if k := s.kinds.rows[string(s.key)]; k != nil {
		return k
	}
	if len(s.key) > 3*maxName {
		s.key = appendKind(s.key[:0], "", "", "", e.Verb[:min(len(e.Verb), 20)], failed)
		if k := s.kinds.rows[string(s.key)]; k != nil {
			return k
		}
	}
	k := &kind{verb: strings.Clone(e.Verb), failed: failed}
	s.kinds.put(string(s.key), k)
	return k
}

func appendKind(b []byte, group, resource, subresource, verb string, failed int) []byte {
	b = append(append(b, group...), 0xff)
	b = append(append(b, resource...), 0xff)
	b = append(append(b, subresource...), 0xff)
	return append(append(b, verb...), byte(failed))
}

func (k *kind) weight() int64 { return k.request.n + k.response.n }

func foldKind(key string, k *kind) (string, *kind) {
	if k.folded {
		return key, k
	}
	return "\xff" + string(appendKind(nil, "", "", "", k.verb[:min(len(k.verb), 20)], k.failed)), &kind{verb: k.verb, failed: k.failed, folded: true}
}

func (k *kind) merge(o *kind) {
	k.request.merge(&o.request)
	k.response.merge(&o.response)
}
