//go:build cgo

package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// engine is one DuckDB instance in this process. It owns no data: every query
// names the Parquet files that it reads. Nothing but those below its allowed
// paths can be read, nothing can be loaded, and after open no setting can change.
//
// It speaks DuckDB's C API rather than database/sql: that one materialises a
// result before its first row and boxes every value; here rows stream in chunks
// that are read in place.
type engine struct {
	opts  engineOptions
	slots chan struct{} // one for each query that may run

	mu     sync.Mutex
	inst   *instance
	closed bool
	users  sync.WaitGroup
}

// instance is a DuckDB database. An internal error, which damaged bytes can
// provoke, makes it refuse all that comes; then it is replaced.
type instance struct {
	db    duckdb.Database
	idle  []duckdb.Connection
	users int
	dead  bool
}

// openEngine starts an engine. It takes about a millisecond.
func openEngine(o engineOptions) (*engine, error) {
	o = o.withDefaults()
	inst, err := openInstance(o)
	if err != nil {
		return nil, err
	}
	return &engine{opts: o, inst: inst, slots: make(chan struct{}, o.Queries)}, nil
}

func openInstance(o engineOptions) (*instance, error) {
	var cfg duckdb.Config
	if duckdb.CreateConfig(&cfg) == duckdb.StateError {
		return nil, errors.New("start query engine: no memory for its configuration")
	}
	defer duckdb.DestroyConfig(&cfg)
	for _, kv := range [][2]string{
		{"threads", strconv.Itoa(o.Threads)},
		{"memory_limit", strconv.FormatInt(o.MemoryLimit>>10, 10) + "KiB"},
		{"autoload_known_extensions", "false"},
		{"autoinstall_known_extensions", "false"},
		{"allow_community_extensions", "false"},
		{"allow_persistent_secrets", "false"},
	} {
		if duckdb.SetConfig(cfg, kv[0], kv[1]) == duckdb.StateError {
			return nil, fmt.Errorf("start query engine: it does not know the setting %s", kv[0])
		}
	}
	inst := &instance{}
	var msg string
	if duckdb.OpenExt("", &inst.db, cfg, &msg) == duckdb.StateError {
		return nil, fmt.Errorf("start query engine: %s", oneLine(msg))
	}
	if err := inst.configure(o); err != nil {
		duckdb.Close(&inst.db)
		return nil, err
	}
	return inst, nil
}

// configure runs the settings in the order that they need: the paths before
// external access goes, everything before the lock.
func (i *instance) configure(o engineOptions) error {
	var c duckdb.Connection
	if duckdb.Connect(i.db, &c) == duckdb.StateError {
		return errors.New("start query engine: it takes no connection")
	}
	defer duckdb.Disconnect(&c)
	statements := []string{
		// No spilling: it would write beside the data. (Also, DuckDB adds the
		// directory to the allowed ones.)
		"SET temp_directory=''",
		"SET allowed_directories=[" + quoteAll(o.Dirs) + "]",
		"SET allowed_paths=[" + quoteAll(o.Paths) + "]",
		"SET enable_external_access=false",
		// Segments are immutable, so their footers are worth keeping.
		"SET parquet_metadata_cache=true",
		"SET TimeZone='UTC'",
		"SET preserve_insertion_order=" + strconv.FormatBool(o.KeepOrder),
		// Rows of a top-N that are fetched by row number once it is known which
		// they are, rather than carried through the sort with all columns.
		"SET late_materialization_max_rows=" + strconv.Itoa(lateRows),
		"SET enable_progress_bar=false",
	}
	statements = append(statements, o.Setup...)
	statements = append(statements, "SET lock_configuration=true")
	for _, s := range statements {
		var res duckdb.Result
		state := duckdb.Query(c, s, &res)
		msg := duckdb.ResultError(&res)
		kind := duckdb.ResultErrorType(&res)
		duckdb.DestroyResult(&res)
		if state == duckdb.StateError {
			return fmt.Errorf("start query engine: %w", newEngineError(kind, msg))
		}
	}
	return nil
}

// close waits for the queries under way.
func (e *engine) close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.closed = true
	e.mu.Unlock()
	e.users.Wait()
	e.inst.end()
}

// end frees an instance that nobody uses.
func (i *instance) end() {
	for k := range i.idle {
		duckdb.Disconnect(&i.idle[k])
	}
	i.idle = nil
	duckdb.Close(&i.db)
}

// connection lends a connection, waiting until there are fewer queries than the limit.
func (e *engine) connection(ctx context.Context) (*instance, duckdb.Connection, error) {
	var c duckdb.Connection
	if e == nil {
		return nil, c, errors.New("query: this store was opened without its query engine")
	}
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, c, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.connect()
	if err != nil {
		<-e.slots
		return nil, c, err
	}
	e.inst.users++
	e.users.Add(1)
	return e.inst, c, nil
}

func (e *engine) connect() (c duckdb.Connection, err error) {
	if e.closed {
		return c, ErrClosed
	}
	if e.inst.dead {
		inst, err := openInstance(e.opts)
		if err != nil {
			return c, err
		}
		if e.inst.users == 0 {
			e.inst.end()
		} // else the last one who releases it does
		e.inst = inst
	}
	if n := len(e.inst.idle); n > 0 {
		c = e.inst.idle[n-1]
		e.inst.idle = e.inst.idle[:n-1]
		return c, nil
	}
	if duckdb.Connect(e.inst.db, &c) == duckdb.StateError {
		return c, errors.New("query: the engine takes no more connections")
	}
	return c, nil
}

func (e *engine) release(inst *instance, c duckdb.Connection, err error) {
	var failed *engineError
	e.mu.Lock()
	inst.idle = append(inst.idle, c)
	inst.users--
	if errors.As(err, &failed) && failed.fatal {
		inst.dead = true
	}
	if inst != e.inst && inst.users == 0 {
		inst.end()
	}
	e.mu.Unlock()
	<-e.slots
	e.users.Done()
}

// query runs one SELECT and calls fn for each chunk of its rows, which is valid
// during the call. The result streams: memory does not grow with its length.
// When ctx ends, the query is interrupted.
func (e *engine) query(ctx context.Context, sql string, fn func(*chunk) error) error {
	return e.run(ctx, sql, nil, fn)
}

// run is query with text parameters.
func (e *engine) run(ctx context.Context, sql string, args []string, fn func(*chunk) error) (err error) {
	if strings.ContainsRune(sql, 0) {
		return errors.New("query: NUL character in SQL")
	}
	inst, conn, err := e.connection(ctx)
	if err != nil {
		return err
	}
	stop := interruptWhenDone(ctx, conn)
	defer func() {
		stop()
		e.release(inst, conn, err)
		if cerr := ctx.Err(); cerr != nil && err != nil {
			err = cerr // an interrupt has many names inside
		}
	}()

	stmt, err := prepareSelect(conn, sql)
	if err != nil {
		return err
	}
	defer duckdb.DestroyPrepare(&stmt)
	if n := int(duckdb.NParams(stmt)); n != len(args) {
		return sqlMistake("parameters are not supported; write the values")
	}
	for i, a := range args {
		if duckdb.BindVarcharLength(stmt, duckdb.IdxT(i+1), a, duckdb.IdxT(len(a))) == duckdb.StateError {
			return errors.New("query: text is not valid UTF-8")
		}
	}
	var res duckdb.Result
	defer duckdb.DestroyResult(&res)
	// The streaming calls are marked deprecated in favour of nothing yet.
	if duckdb.ExecutePreparedStreaming(stmt, &res) == duckdb.StateError {
		return resultError(&res)
	}
	ch := newChunk(&res)
	defer ch.destroy()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		data := duckdb.FetchChunk(res)
		if data.Ptr == nil {
			return resultError(&res)
		}
		ch.set(data)
		if ch.n > 0 {
			err = fn(ch)
		}
		duckdb.DestroyDataChunk(&data)
		if err != nil {
			return err
		}
	}
}

// prepareSelect accepts exactly one statement, of type SELECT.
func prepareSelect(conn duckdb.Connection, sql string) (duckdb.PreparedStatement, error) {
	var stmts duckdb.ExtractedStatements
	var stmt duckdb.PreparedStatement
	n := duckdb.ExtractStatements(conn, sql, &stmts)
	defer duckdb.DestroyExtracted(&stmts)
	switch {
	case n == 0:
		if msg := duckdb.ExtractStatementsError(stmts); msg != "" {
			return stmt, newEngineError(duckdb.ErrorTypeParser, msg)
		}
		return stmt, sqlMistake("there is no statement; write a SELECT over the view events")
	case n > 1:
		return stmt, sqlMistake("only one statement at a time")
	}
	if duckdb.PrepareExtractedStatement(conn, stmts, 0, &stmt) == duckdb.StateError {
		err := newEngineError(duckdb.ErrorTypeBinder, duckdb.PrepareError(stmt))
		duckdb.DestroyPrepare(&stmt)
		return stmt, err
	}
	if duckdb.PreparedStatementType(stmt) != duckdb.StatementTypeSelect {
		duckdb.DestroyPrepare(&stmt)
		return stmt, sqlMistake("only SELECT is allowed: the store is read-only here")
	}
	return stmt, nil
}

// interruptWhenDone interrupts conn's query when ctx ends, again and again until
// stop is called: DuckDB forgets an interrupt that comes between two phases.
func interruptWhenDone(ctx context.Context, conn duckdb.Connection) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		t := time.NewTicker(20 * time.Millisecond)
		defer t.Stop()
		for {
			duckdb.Interrupt(conn)
			select {
			case <-done:
				return
			case <-t.C:
			}
		}
	}()
	return func() { close(done); <-ended }
}

func resultError(res *duckdb.Result) error {
	msg := duckdb.ResultError(res)
	if msg == "" {
		return nil
	}
	return newEngineError(duckdb.ResultErrorType(res), msg)
}

// newEngineError sorts DuckDB's errors. While preparing the kind is not given,
// so the text counts too.
func newEngineError(kind duckdb.ErrorType, msg string) error {
	msg = oneLine(msg)
	switch {
	case kind == duckdb.ErrorTypeOutOfMemory, strings.HasPrefix(msg, "Out of Memory"):
		return errMemory()
	case kind == duckdb.ErrorTypeInternal, kind == duckdb.ErrorTypeFatal, strings.HasPrefix(msg, "INTERNAL"), strings.HasPrefix(msg, "FATAL"),
		strings.Contains(msg, "has been invalidated"):
		return &engineError{msg: msg, fatal: true}
	}
	return &engineError{msg: msg}
}

func defaultThreads() int { return min(runtime.GOMAXPROCS(0), 8) }
