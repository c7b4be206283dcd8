package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
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

// copyAllWithEngine makes what ktrail makes with the engine alone: the line
// itself and the columns that are derived from it.
func copyAllWithEngine(ctx context.Context, log, to string) error {
	db, err := openEngine(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	columns := []string{
		"(json->>'$.stageTimestamp')::TIMESTAMPTZ AS time", "(json->>'$.requestReceivedTimestamp')::TIMESTAMPTZ AS received",
		"json->>'$.auditID' AS audit_id", "json->>'$.stage' AS stage", "json->>'$.level' AS level", "json->>'$.verb' AS verb",
		"json->>'$.user.username' AS \"user\"", "json->>'$.user.uid' AS user_uid", "json->'$.user.groups' AS \"groups\"",
		"json->>'$.impersonatedUser.username' AS as_user", "json->'$.impersonatedUser.groups' AS as_groups",
		"json->'$.sourceIPs' AS source_ips", "json->>'$.userAgent' AS agent", "json->>'$.requestURI' AS uri",
		"json->>'$.objectRef.apiGroup' AS api_group", "json->>'$.objectRef.apiVersion' AS api_version", "json->>'$.objectRef.resource' AS resource",
		"json->>'$.objectRef.subresource' AS subresource", "json->>'$.objectRef.namespace' AS namespace", "json->>'$.objectRef.name' AS name",
		"json->>'$.objectRef.uid' AS object_uid", "(json->>'$.responseStatus.code')::INTEGER AS code", "json->>'$.responseStatus.reason' AS reason",
		"json->>'$.responseStatus.message' AS message", `json->>'$.annotations."authorization.k8s.io/decision"' AS decision`,
		`json->>'$.annotations."authorization.k8s.io/reason"' AS decision_reason`, "json AS raw",
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(
		"COPY (SELECT %s FROM read_ndjson_objects('%s', maximum_object_size=16777216)) TO '%s' (FORMAT parquet, COMPRESSION zstd)",
		strings.Join(columns, ", "), quote(log), quote(to)))
	return err
}
