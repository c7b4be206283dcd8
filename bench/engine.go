package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	_ "github.com/duckdb/duckdb-go/v2" // the engine that the ratios are against
)

// openEngine is the bare engine with the threads of the machine and the memory
// limit that ktrail gives it.
func openEngine(ctx context.Context) (*sql.DB, error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return nil, err
	}
	for _, set := range []string{"SET TimeZone='UTC'", "SET parquet_metadata_cache=true"} {
		if _, err := db.ExecContext(ctx, set); err != nil {
			return nil, fmt.Errorf("%s: %w", set, err)
		}
	}
	return db, nil
}

// copyWithEngine is the conversion that a person would write: the event's
// fields as columns, bodies as JSON text, zstd Parquet.
func copyWithEngine(ctx context.Context, log, to string) error {
	db, err := openEngine(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	columns := []string{
		"level VARCHAR", "auditID VARCHAR", "stage VARCHAR", "requestURI VARCHAR", "verb VARCHAR",
		`"user" STRUCT(username VARCHAR, uid VARCHAR, "groups" VARCHAR[], extra JSON)`,
		`impersonatedUser STRUCT(username VARCHAR, uid VARCHAR, "groups" VARCHAR[], extra JSON)`,
		"sourceIPs VARCHAR[]", "userAgent VARCHAR",
		"objectRef STRUCT(resource VARCHAR, namespace VARCHAR, name VARCHAR, uid VARCHAR, apiGroup VARCHAR, apiVersion VARCHAR, resourceVersion VARCHAR, subresource VARCHAR)",
		"responseStatus STRUCT(status VARCHAR, message VARCHAR, reason VARCHAR, code INTEGER)",
		"requestObject JSON", "responseObject JSON",
		"requestReceivedTimestamp TIMESTAMPTZ", "stageTimestamp TIMESTAMPTZ", "annotations JSON",
	}
	pairs := make([]string, len(columns))
	for i, c := range columns {
		name, typ, _ := strings.Cut(c, " ")
		pairs[i] = fmt.Sprintf("%s: '%s'", name, typ)
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(
		"COPY (SELECT * FROM read_json('%s', format='newline_delimited', maximum_object_size=16777216, columns={%s})) TO '%s' (FORMAT parquet, COMPRESSION zstd)",
		quote(log), strings.Join(pairs, ", "), quote(to)))
	return err
}

func quote(s string) string { return strings.ReplaceAll(s, "'", "''") }
