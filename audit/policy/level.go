package policy

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Level is how much of a request is recorded, in ascending order.
type Level uint8

// The levels.
const (
	None Level = iota
	Metadata
	Request
	RequestResponse
)

var levelNames = [...]string{"None", "Metadata", "Request", "RequestResponse"}

// Levels are all levels, ascending.
func Levels() []Level { return []Level{None, Metadata, Request, RequestResponse} }

// ParseLevel is the level of that name, as policies and events write it.
func ParseLevel(name string) (Level, error) {
	for i, n := range levelNames {
		if n == name {
			return Level(i), nil
		}
	}
	return None, fmt.Errorf("%q is no level: it is one of %s", name, strings.Join(levelNames[:], ", "))
}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// MarshalText writes the level's name.
func (l Level) MarshalText() ([]byte, error) {
	if int(l) >= len(levelNames) {
		return nil, fmt.Errorf("marshal level %d: there is none", uint8(l))
	}
	return []byte(levelNames[l]), nil
}

// UnmarshalText reads a level's name.
func (l *Level) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLevel(string(text))
	return err
}

// Stages is a set of stages.
type Stages uint8

// The stages.
const (
	RequestReceived Stages = 1 << iota
	ResponseStarted
	ResponseComplete
	Panic

	// AllStages has every stage: a request whose stages are all omitted leaves no event.
	AllStages = RequestReceived | ResponseStarted | ResponseComplete | Panic
)

var stageNames = [...]string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}

// ParseStage is the set that holds the stage of that name.
func ParseStage(name string) (Stages, error) {
	for i, n := range stageNames {
		if n == name {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("%q is no stage: it is one of %s", name, strings.Join(stageNames[:], ", "))
}

// Has is whether all of those are in the set.
func (s Stages) Has(those Stages) bool { return s&those == those }

// Names are the stages of the set in the order of a request; never nil.
func (s Stages) Names() []string {
	names := []string{}
	for i, n := range stageNames {
		if s&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

// String is the names with commas, "" for the empty set.
func (s Stages) String() string { return strings.Join(s.Names(), ",") }

// MarshalJSON writes the names as a list.
func (s Stages) MarshalJSON() ([]byte, error) { return json.Marshal(s.Names()) }

// UnmarshalJSON reads a list of names.
func (s *Stages) UnmarshalJSON(data []byte) error {
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return err
	}
	*s = 0
	for _, n := range names {
		one, err := ParseStage(n)
		if err != nil {
			return err
		}
		*s |= one
	}
	return nil
}
