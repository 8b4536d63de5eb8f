package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"larder/formats"
)

// Bounds of what discovery may take from the machine.
const (
	machineFileMax = 32 << 20         // bytes of one file
	machineOutMax  = 1 << 20          // bytes kept of one client's output
	machineRunMax  = 20 * time.Second // one client
)

// machine is the real formats.Machine. It reads, and it starts clients in an
// empty directory of its own, so that no project's settings answer for the
// machine's. Safe for concurrent use until Close.
type machine struct {
	mu   sync.Mutex
	temp string // "" until first wanted
}

var _ formats.Machine = (*machine)(nil)

// Close removes what clients wrote.
func (m *machine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.temp == "" {
		return nil
	}
	err := os.RemoveAll(m.temp)
	m.temp = ""
	return err
}

func (m *machine) Getenv(key string) string { return os.Getenv(key) }

// Home is the user's home directory, "" if there is none.
func (m *machine) Home() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return home
}

// ReadFile reads a regular file of at most 32 MiB.
func (m *machine) ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, machineFileMax+1))
	if err != nil {
		return nil, err
	}
	if len(data) > machineFileMax {
		return nil, fmt.Errorf("read %s: more than %d bytes", path, machineFileMax)
	}
	return data, nil
}

// Glob is filepath.Glob; a bad pattern matches nothing.
func (m *machine) Glob(pattern string) []string {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	return paths
}

func (m *machine) LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// TempDir is made on first use. "" when the machine has no place for it.
func (m *machine) TempDir() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.temp == "" {
		dir, err := os.MkdirTemp("", "larder-discover-")
		if err != nil {
			return ""
		}
		m.temp = dir
	}
	return m.temp
}

// Run starts a client in a process group of its own and kills the whole group
// when ctx ends or the client takes more than 20 s: npm, pyenv and rustup start
// children that would otherwise stay.
func (m *machine) Run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, machineRunMax)
	defer cancel()
	var out capped
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = m.TempDir()
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("run %s: %w", name, ctx.Err())
	}
	return out.buf.String(), err
}

// capped keeps the first machineOutMax bytes and drops the rest. One writer at
// a time: exec uses one goroutine when both streams are the same writer.
type capped struct{ buf bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := machineOutMax - c.buf.Len(); room > 0 {
		c.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
