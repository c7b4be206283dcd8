package durable

import (
	"io/fs"
	"sync"
)

// Fault says what becomes of an operation.
type Fault struct {
	Err  error // nil lets the operation pass
	Done bool  // do it, and report Err all the same
}

// FaultFS passes operations that change something to FS after asking Decide.
// A write that fails without being done is torn: half of it is written.
type FaultFS struct {
	FS
	// Decide is given the operation's number, from 1, its kind (create, append,
	// write, sync, truncate, inherit, mkdir, rename, remove, syncdir) and the file's name.
	Decide func(n int, op, name string) Fault

	mu sync.Mutex
	n  int
}

// Ops tells how many operations there were.
func (f *FaultFS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *FaultFS) decide(op, name string) Fault {
	f.mu.Lock()
	f.n++
	n := f.n
	f.mu.Unlock()
	return f.Decide(n, op, name)
}

func (f *FaultFS) do(op, name string, fn func() error) error {
	v := f.decide(op, name)
	if v.Err == nil {
		return fn()
	}
	if v.Done {
		_ = fn()
	}
	return v.Err
}

func (f *FaultFS) file(op, name string, open func(string) (File, error)) (File, error) {
	v := f.decide(op, name)
	if v.Err != nil {
		if v.Done {
			if file, err := open(name); err == nil {
				_ = file.Close()
			}
		}
		return nil, v.Err
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultFile{file, f, name}, nil
}

// Create implements [FS].
func (f *FaultFS) Create(name string) (File, error) { return f.file("create", name, f.FS.Create) }

// Append implements [FS].
func (f *FaultFS) Append(name string) (File, error) { return f.file("append", name, f.FS.Append) }

// MkdirAll implements [FS].
func (f *FaultFS) MkdirAll(name string) error {
	return f.do("mkdir", name, func() error { return f.FS.MkdirAll(name) })
}

// Rename implements [FS].
func (f *FaultFS) Rename(oldName, newName string) error {
	return f.do("rename", newName, func() error { return f.FS.Rename(oldName, newName) })
}

// Remove implements [FS].
func (f *FaultFS) Remove(name string) error {
	return f.do("remove", name, func() error { return f.FS.Remove(name) })
}

// SyncDir implements [FS].
func (f *FaultFS) SyncDir(name string) error {
	return f.do("syncdir", name, func() error { return f.FS.SyncDir(name) })
}

type faultFile struct {
	File
	fs   *FaultFS
	name string
}

func (f *faultFile) Write(p []byte) (int, error) {
	v := f.fs.decide("write", f.name)
	if v.Err == nil {
		return f.File.Write(p)
	}
	if v.Done {
		n, _ := f.File.Write(p)
		return n, v.Err
	}
	n, _ := f.File.Write(p[:len(p)/2])
	return n, v.Err
}

func (f *faultFile) Sync() error {
	return f.fs.do("sync", f.name, f.File.Sync)
}

func (f *faultFile) Truncate(size int64) error {
	return f.fs.do("truncate", f.name, func() error { return f.File.Truncate(size) })
}

func (f *faultFile) Inherit(from fs.FileInfo) error {
	return f.fs.do("inherit", f.name, func() error { return f.File.Inherit(from) })
}
