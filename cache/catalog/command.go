package catalog

import (
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"larder/cache/store"
)

// Command is one change of control state, or one claim of what a version is.
// Commands are applied by one deterministic state machine: what Op.apply reads
// is the store and the command, never a clock, a random number or the network,
// so that the same log makes the same rows on every node. The log is the ledger:
// a command's entry carries it encoded, and the entries that tell its effects
// follow.
type Command struct {
	At     time.Time       `cbor:"1,keyasint"`
	By     string          `cbor:"2,keyasint,omitempty"` // principal, for the record
	Domain string          `cbor:"3,keyasint,omitempty"`
	Kind   string          `cbor:"4,keyasint"`
	Body   cbor.RawMessage `cbor:"5,keyasint"`
}

// Op is the body of a command.
type Op interface {
	kind() string
	// locks names what the op changes: control rows, or one package.
	locks() (control bool, format, name string)
	// apply checks the op against the rows and adds its changes to m.b. A *Fault
	// refuses it.
	apply(m *machine) error
}

// newOp returns an empty op of a kind, or nil.
func newOp(kind string) Op {
	for _, op := range []Op{
		&CreateDomain{}, &DeleteDomain{}, &PutDomainPolicy{}, &CreateRepository{}, &UpdateRepository{}, &DeleteRepository{},
		&PutRepositoryPolicy{}, &SetConnection{}, &SetTags{}, &PutGroup{}, &DeleteGroup{}, &Declare{},
		&PutCredential{}, &DeleteCredential{}, &Revoke{},
		&Ingest{}, &PinOwner{}, &Publish{}, &Retain{}, &PutOrigin{}, &UpdateStatus{}, &DeletePackage{}, &Copy{},
	} {
		if op.kind() == kind {
			return op
		}
	}
	return nil
}

// Result is what a command tells its caller.
type Result struct {
	Seq      uint64 // ledger sequence number up to which the change is told
	Versions map[string]VersionResult
	Failed   map[string]VersionFailure // not empty: nothing was changed
	Changed  bool                      // false: the rows were as wanted already
}

// VersionResult is one version of a batch that succeeded.
type VersionResult struct{ Revision, Status string }

// VersionFailure is one version of a batch that failed (API reference,
// "PackageVersionError").
type VersionFailure struct{ Code, Message string }

// machine is one application of one command.
type machine struct {
	c      *Catalog
	b      *store.Batch
	cmd    *Command
	state  *State
	result *Result
	facts  []Entry // effects, told in the ledger behind the command
	names  [][2]string
	staged []*Staged // leave their waiting place with the command
}

// tell adds an effect to the ledger.
func (m *machine) tell(e Entry) {
	e.Time = m.cmd.At
	if e.By == "" {
		e.By = m.cmd.By
	}
	m.facts = append(m.facts, e)
}

// touch marks a name whose kept answers are void after the commit.
func (m *machine) touch(format, name string) { m.names = append(m.names, [2]string{format, name}) }

// Propose applies an op as a command of principal by, durably: when it returns
// without error the change is on disk and visible. A *Fault says that it was
// refused. In a cluster the same command goes through the replicated log first.
func (c *Catalog) Propose(domain, by string, op Op, staged ...*Staged) (*Result, error) {
	return c.propose(&Command{At: c.now().UTC(), By: by, Domain: domain}, op, staged)
}

func (c *Catalog) propose(cmd *Command, op Op, staged []*Staged) (*Result, error) {
	body, err := c.enc.Marshal(op)
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	cmd.Kind, cmd.Body = op.kind(), body
	control, format, name := op.locks()
	if control {
		c.control.Lock()
		defer c.control.Unlock()
	} else {
		c.control.RLock()
		defer c.control.RUnlock()
		defer c.lockName(format, name).Unlock()
	}
	b := c.db.NewBatch()
	m := &machine{c: c, b: b, cmd: cmd, state: c.State(), result: &Result{Changed: true}, staged: staged}
	if err := op.apply(m); err != nil {
		return nil, err
	}
	if len(m.result.Failed) > 0 || !m.result.Changed {
		m.result.Changed = false
		// After a failed sync rows show what may never have reached the disk: then
		// "as wanted already" is no answer.
		if err := c.db.Broken(); err != nil {
			return nil, fmt.Errorf("commit %s: %w", cmd.Kind, err)
		}
		return m.result, nil
	}
	if err := m.record(); err != nil {
		return nil, err
	}
	for _, s := range m.staged {
		c.unstage(b, s)
	}
	if err := b.Commit(true); err != nil {
		return nil, fmt.Errorf("commit %s: %w", cmd.Kind, err)
	}
	for _, s := range m.staged {
		s.done = true
	}
	m.result.Seq = c.db.LedgerSeq()
	for _, n := range m.names {
		c.Bump(n[0], n[1])
	}
	if control {
		if err := c.refreshState(); err != nil {
			return nil, err
		}
	}
	c.wake()
	return m.result, nil
}

// record adds the command and its effects to the ledger.
func (m *machine) record() error {
	raw, err := m.c.enc.Marshal(m.cmd)
	if err != nil {
		return fmt.Errorf("encode command: %w", err)
	}
	if err := m.c.ledger(m.b, Entry{Time: m.cmd.At, By: m.cmd.By, Cause: CauseCommand, Note: m.cmd.Kind, Command: raw}); err != nil {
		return err
	}
	for _, e := range m.facts {
		if err := m.c.ledger(m.b, e); err != nil {
			return err
		}
	}
	return nil
}

// refreshState reads the control rows anew and tells the watcher.
func (c *Catalog) refreshState() error {
	s, err := c.readState()
	if err != nil {
		return fmt.Errorf("read control state: %w", err)
	}
	c.state.Store(s)
	if fn := c.watcher.Load(); fn != nil {
		(*fn)(s)
	}
	return nil
}

// Watch registers fn, which is called with every new State before the command
// that made it returns. Only one watcher is kept.
func (c *Catalog) Watch(fn func(*State)) { c.watcher.Store(&fn) }

// Changes returns a channel of its own that gets a value after commands were
// committed, for a reader of the ledger. Values are merged while it is not read.
func (c *Catalog) Changes() <-chan struct{} {
	ch := make(chan struct{}, 1)
	c.readers.Lock()
	defer c.readers.Unlock()
	c.readers.of = append(c.readers.of, ch)
	return ch
}

func (c *Catalog) wake() {
	c.readers.Lock()
	defer c.readers.Unlock()
	for _, ch := range c.readers.of {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Replay applies a command that another catalog's ledger carries. Blobs that it
// refers to must be in the store.
func (c *Catalog) Replay(raw []byte) (*Result, error) {
	var cmd Command
	if err := c.dec.Unmarshal(raw, &cmd); err != nil {
		return nil, fmt.Errorf("decode command: %w", err)
	}
	op := newOp(cmd.Kind)
	if op == nil {
		return nil, fmt.Errorf("command kind %q is not known", cmd.Kind)
	}
	if err := c.dec.Unmarshal(cmd.Body, op); err != nil {
		return nil, fmt.Errorf("decode %s: %w", cmd.Kind, err)
	}
	return c.propose(&Command{At: cmd.At, By: cmd.By, Domain: cmd.Domain}, op, nil)
}

// domain returns the domain of the command.
func (m *machine) domain() (*DomainState, error) {
	d, ok := m.state.Domain(m.cmd.Domain)
	if !ok {
		return nil, fault(FaultNotFound, "domain", m.cmd.Domain, "Domain not found. Domain: '%s'", m.cmd.Domain)
	}
	return d, nil
}

// repository returns a repository of the command's domain.
func (m *machine) repository(name string) (*DomainState, *RepositoryRow, error) {
	d, err := m.domain()
	if err != nil {
		return nil, nil, err
	}
	r, ok := d.Repository(name)
	if !ok {
		return nil, nil, fault(FaultNotFound, "repository", name, "Repository not found. Repository: '%s', Domain: '%s'", name, d.Name)
	}
	return d, r, nil
}

func (m *machine) put(key []byte, row any) error { return m.c.set(m.b, key, row) }

// AsFault finds a *Fault in err's chain.
func AsFault(err error) (*Fault, bool) {
	var f *Fault
	ok := errors.As(err, &f)
	return f, ok
}
