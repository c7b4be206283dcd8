package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// clickRounds is how often the story is gone through, after once to warm up.
const clickRounds = 5

// click is what the page asks when a person clicks: steps one after the other,
// and in each all requests at once, as the page's scripts do.
type click struct {
	name  string
	steps [][]string
	// first is how many steps there are until what was asked for is seen.
	first int
}

// benchClicks goes through "who deleted the deployment, what else did they touch,
// is it still going on?" against a running server, over all that it holds, and
// measures each click until the answer stands there, and until all does.
func benchClicks(ctx context.Context, o options, t *table, data string) error {
	s, err := startServer(ctx, o, "--data", data)
	if err != nil {
		return err
	}
	err = s.story(ctx, t)
	return errors.Join(err, s.stop())
}

func (s *server) story(ctx context.Context, t *table) error {
	const asked = "verb=delete&resource=deployments"
	cel := url.QueryEscape(`verb == "delete" && resource == "deployments"`)
	opened, err := s.page(ctx, "/?"+asked)
	if err != nil {
		return err
	}
	id, err := found(opened, `data-id="(\d+)"`)
	if err != nil {
		return err
	}
	event := "/page/event/" + id + "?" + asked
	drawer, err := s.page(ctx, event)
	if err != nil {
		return err
	}
	around, err := found(drawer, `data-url="([^"]+)"`)
	if err != nil {
		return err
	}
	actor, err := found(drawer, `href="(/actors/[^"]+)"`)
	if err != nil {
		return err
	}
	u, err := url.Parse(actor)
	if err != nil {
		return err
	}
	of := u.Query()
	of.Set("actor", strings.TrimPrefix(u.Path, "/actors/"))
	part := func(name string) string { return "/page/actors/" + name + "?" + of.Encode() }
	clicks := []click{
		{"the page: deletions of deployments", [][]string{
			{"/?" + asked},
			{"/api/v1/histogram?buckets=120&filter=" + cel, "/api/v1/facets?limit=6&columns=" + strings.Join(facetColumns, ",") + "&filter=" + cel},
		}, 1},
		{"click 1, who deleted it: the event, then its neighbours", [][]string{{event}, {around}}, 1},
		{"click 2, what else did they touch: the actor, then the day and the trail", [][]string{{actor}, {part("now"), part("touched")}, {part("day")}, {part("trail")}}, 2},
		{"click 3, is it still going on: live", [][]string{{part("now")}, {part("follow")}}, 2},
	}
	first, all := make([][]time.Duration, len(clicks)), make([][]time.Duration, len(clicks))
	for round := range clickRounds + 1 {
		for i, c := range clicks {
			began := time.Now()
			for k, step := range c.steps {
				work, ctx := errgroup.WithContext(ctx)
				for _, path := range step {
					work.Go(func() error {
						_, err := s.page(ctx, path)
						return err
					})
				}
				if err := work.Wait(); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				if round > 0 && k+1 == c.first {
					first[i] = append(first[i], time.Since(began))
				}
			}
			if round > 0 {
				all[i] = append(all[i], time.Since(began))
			}
		}
	}
	for i, c := range clicks {
		slices.Sort(first[i])
		slices.Sort(all[i])
		t.row(c.name, "–", fmt.Sprintf("**%.0f ms** until the answer, %.0f ms until all is there (medians of %d)", ms(first[i][clickRounds/2]), ms(all[i][clickRounds/2]), clickRounds), "1 s at most")
	}
	return nil
}

// page is what the server answers; of a stream, that it has begun.
func (s *server) page(ctx context.Context, path string) (string, error) {
	if strings.Contains(path, "/follow?") {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
		if err != nil {
			return "", err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return "", fmt.Errorf("%s: %s", path, res.Status)
		}
		return "", nil
	}
	code, body, err := s.get(ctx, path)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.200s", path, code, body)
	}
	return string(body), err
}

// found is what the first group of a pattern finds in a page.
func found(page, pattern string) (string, error) {
	m := regexp.MustCompile(pattern).FindStringSubmatch(page)
	if m == nil {
		return "", fmt.Errorf("the page has nothing like %s", pattern)
	}
	return html.UnescapeString(m[1]), nil
}
