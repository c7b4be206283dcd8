package finding

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/ktrail/ktrail/internal/visible"
)

// WriteJSON writes findings as a JSON array, [] for none.
func WriteJSON(w io.Writer, fs []Finding) error {
	if fs == nil {
		fs = []Finding{}
	}
	return writeJSON(w, fs)
}

func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode findings: %w", err)
	}
	_, err := w.Write(visible.JSON(b.Bytes()))
	return err
}

// WriteGitHub writes findings as workflow commands, which GitHub Actions shows
// as annotations beside the lines
// (https://docs.github.com/actions/reference/workflow-commands-for-github-actions).
func WriteGitHub(w io.Writer, fs []Finding) error {
	command := map[Severity]string{Error: "error", Warning: "warning", Note: "notice"}
	out := bufio.NewWriter(w)
	for _, f := range fs {
		var props []string
		add := func(key, value string) { props = append(props, key+"="+githubProperty.Replace(visible.Line(value))) }
		if f.File != "" && f.File != "-" {
			add("file", f.File)
		}
		if f.Line > 0 {
			add("line", fmt.Sprint(f.Line))
			if f.Column > 0 {
				add("col", fmt.Sprint(f.Column))
			}
		}
		add("title", f.Name)
		fmt.Fprintf(out, "::%s %s::%s\n", command[f.Severity], strings.Join(props, ","), githubData.Replace(visible.Lines(f.text())))
	}
	return out.Flush()
}

// GitHub's escapes, as its toolkit has them
// (https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts).
var (
	githubData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// text is all of a finding but its place and name, for viewers that show one text.
func (f *Finding) text() string {
	t := visible.Line(f.Message)
	if f.Reason != "" {
		t += "\n" + visible.Line(f.Reason)
	}
	if f.Fix != "" {
		t += "\nfix: " + strings.TrimRight(f.Fix, "\n")
	}
	return t
}

// Tool is what SARIF says about the program that found the findings.
type Tool struct {
	Name    string
	Version string
	// Rules are the kinds of findings it knows. Those that a result needs and that
	// are missing here are made from the result.
	Rules []Rule
}

// Rule is one kind of finding: what all findings of one name have in common.
type Rule struct {
	Name     string
	Severity Severity // that it has unless a finding says otherwise
	Short    string   // one sentence
	Help     string   // why it matters and what to do
	Doc      string   // as Finding.Doc
}

// The part of SARIF 2.1.0 that findings need
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID                   string      `json:"id"`
		ShortDescription     sarifText   `json:"shortDescription"`
		Help                 sarifText   `json:"help"`
		HelpURI              string      `json:"helpUri,omitempty"`
		DefaultConfiguration sarifConfig `json:"defaultConfiguration"`
	}
	sarifConfig struct {
		Level Severity `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     Severity        `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

// WriteSARIF writes findings as a SARIF 2.1.0 log, as code-scanning services take it.
func WriteSARIF(w io.Writer, fs []Finding, tool Tool) error {
	driver := sarifDriver{Name: tool.Name, Version: tool.Version, InformationURI: strings.TrimSuffix(Site, "/blob/main/"), Rules: []sarifRule{}}
	index := map[string]int{}
	add := func(r Rule) {
		if _, ok := index[r.Name]; ok {
			return
		}
		index[r.Name] = len(driver.Rules)
		rule := sarifRule{
			ID: r.Name, ShortDescription: sarifText{r.Short}, Help: sarifText{r.Help},
			DefaultConfiguration: sarifConfig{r.Severity},
		}
		if r.Help == "" {
			rule.Help.Text = r.Short
		}
		if r.Doc != "" {
			rule.HelpURI = Site + r.Doc
		}
		driver.Rules = append(driver.Rules, rule)
	}
	for _, r := range tool.Rules {
		add(r)
	}
	results := []sarifResult{}
	for _, f := range fs {
		add(Rule{Name: f.Name, Severity: f.Severity, Short: f.Message, Help: f.Reason, Doc: f.Doc})
		r := sarifResult{RuleID: f.Name, RuleIndex: index[f.Name], Level: f.Severity, Message: sarifText{f.text()}}
		if f.File != "" {
			at := sarifPhysical{ArtifactLocation: sarifArtifact{artifactURI(f.File)}}
			if f.Line > 0 {
				at.Region = &sarifRegion{StartLine: f.Line, StartColumn: max(f.Column, 0)}
			}
			r.Locations = []sarifLocation{{at}}
		}
		results = append(results, r)
	}
	return writeJSON(w, sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{{Tool: sarifTool{driver}, ColumnKind: "unicodeCodePoints", Results: results}},
	})
}

// artifactURI is a file's name as a URI reference, so that any name is allowed.
func artifactURI(file string) string {
	switch {
	case file == "-":
		return "stdin"
	case strings.HasPrefix(file, "/"):
		return (&url.URL{Scheme: "file", Path: file}).String()
	}
	return (&url.URL{Path: file}).String()
}
