package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"larder/cache/catalog"
	"larder/cache/store"
	"larder/policy"
	"larder/proxy/access"
	"larder/proxy/identity"
)

// adminSocket is where a running node takes the orders of its own machine. Only
// who may write to the data directory can reach it, so it asks for nothing more.
func adminSocket(data string) string { return filepath.Join(data, "admin.sock") }

// adminOrder is one order; Do says which.
type adminOrder struct {
	Do string `json:"do"` // create, list, disable, enable, delete, revoke, key, explain

	ID       string        `json:"id,omitempty"`
	User     string        `json:"user,omitempty"`
	Account  string        `json:"account,omitempty"`
	Admin    bool          `json:"admin,omitempty"`
	Token    bool          `json:"token,omitempty"`
	Policies []string      `json:"policies,omitempty"`
	Expires  time.Duration `json:"expires,omitempty"` // from now; 0 never
	Note     string        `json:"note,omitempty"`

	Kind string `json:"kind,omitempty"` // of a revocation: token, subject, key

	Action   string `json:"action,omitempty"`
	Resource string `json:"resource,omitempty"`
}

// adminAnswer is what came of an order.
type adminAnswer struct {
	Error       string              `json:"error,omitempty"`
	ID          string              `json:"id,omitempty"`
	Secret      string              `json:"secret,omitempty"`    // shown once
	PublicKey   string              `json:"publicKey,omitempty"` // PEM
	Credentials []adminCredential   `json:"credentials,omitempty"`
	Explanation *policy.Explanation `json:"explanation,omitempty"`
}

type adminCredential struct {
	ID       string     `json:"id"`
	Kind     string     `json:"kind"`
	User     string     `json:"user"`
	Account  string     `json:"account"`
	Admin    bool       `json:"admin,omitempty"`
	Policies []string   `json:"policies,omitempty"`
	Created  time.Time  `json:"created"`
	Expires  *time.Time `json:"expires,omitempty"`
	Disabled bool       `json:"disabled,omitempty"`
	Note     string     `json:"note,omitempty"`
}

// administrator carries orders out.
type administrator struct {
	cat   *catalog.Catalog
	ring  *identity.Keyring
	gate  *access.Gate
	owner string
	now   func() time.Time

	mu sync.Mutex // one order at a time: some read a row and write it back
}

const byAdmin = "local administrator"

func (a *administrator) do(o adminOrder) (*adminAnswer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o.Do {
	case "create":
		return a.create(o)
	case "list":
		return a.list()
	case "disable", "enable":
		row, err := a.cat.Credential(o.ID)
		if err != nil {
			return nil, fmt.Errorf("no credential has the id %q", o.ID)
		}
		return &adminAnswer{ID: o.ID}, a.disable(row, o.Do == "disable")
	case "delete":
		return &adminAnswer{ID: o.ID}, a.propose(&catalog.DeleteCredential{ID: o.ID})
	case "revoke":
		return &adminAnswer{ID: o.ID}, a.revoke(o)
	case "key":
		text, err := a.ring.TokenPublicPEM()
		if err != nil {
			return nil, err
		}
		return &adminAnswer{ID: identity.KeyID(a.ring.TokenKey().Public().(ed25519.PublicKey)), PublicKey: string(text)}, nil
	case "explain":
		return a.explain(o)
	}
	return nil, fmt.Errorf("order %q is not known", o.Do)
}

func (a *administrator) disable(row *catalog.Credential, off bool) error {
	row.Disabled = off
	return a.propose(&catalog.PutCredential{Credential: *row})
}

// revoke denies tokens. What was issued for some hours is denied by an entry that
// ends with it; robot tokens outlive such entries, so they are disabled.
func (a *administrator) revoke(o adminOrder) error {
	if row, err := a.cat.Credential(o.ID); o.Kind == "token" && err == nil {
		return a.disable(row, true)
	}
	if err := a.propose(&catalog.Revoke{Revocation: catalog.Revocation{Kind: o.Kind, Value: o.ID, At: a.now().UTC()}}); err != nil || o.Kind != "subject" {
		return err
	}
	var robots []*catalog.Credential
	err := a.cat.Credentials(func(c *catalog.Credential) error {
		if c.Kind == catalog.RobotToken && !c.Disabled && access.UserARN(c.Account, c.User) == o.ID {
			robots = append(robots, c)
		}
		return nil
	})
	for _, row := range robots {
		err = errors.Join(err, a.disable(row, true))
	}
	return err
}

func (a *administrator) propose(op catalog.Op) error {
	_, err := a.cat.Propose("", byAdmin, op)
	return err
}

// create makes an access key or a robot token. The secret is random, told once,
// and kept sealed (access keys, since both sides sign with it) or hashed.
func (a *administrator) create(o adminOrder) (*adminAnswer, error) {
	if o.Account == "" {
		o.Account = a.owner
	}
	if len(o.Account) != 12 || strings.Trim(o.Account, "0123456789") != "" {
		return nil, fmt.Errorf("account %q: want 12 digits", o.Account)
	}
	if o.User == "" {
		if !o.Admin {
			return nil, errors.New("name the user: --user NAME")
		}
		o.User = "admin"
	}
	if !isName(o.User, "._-@+=,") {
		return nil, fmt.Errorf("user %q: want 2 to 100 letters, digits and . _ - @ + = , starting with a letter or digit", o.User)
	}
	for _, p := range o.Policies {
		if strings.HasPrefix(p, "{") {
			if _, err := policy.Parse([]byte(p), policy.IdentityDocument); err != nil {
				return nil, err
			}
		} else if !a.gate.Knows(p) {
			return nil, fmt.Errorf("there is no policy %q: want admin, publish, read, the name of a [[policy]], or a file with a document", p)
		}
	}
	row := catalog.Credential{User: o.User, Account: o.Account, Admin: o.Admin, Policies: o.Policies, Created: a.now().UTC(), Note: o.Note}
	if o.Expires > 0 {
		row.Expires = row.Created.Add(o.Expires)
	}
	var secret string
	if o.Token {
		row.Kind, row.ID = catalog.RobotToken, "lrd_"+randomText(10)
		secret = row.ID + "_" + randomText(25)
		sum := sha256.Sum256([]byte(secret))
		row.SHA256 = sum[:]
	} else {
		row.Kind, row.ID = catalog.AccessKey, "AKIA"+strings.ToUpper(randomText(10))
		raw := make([]byte, 30)
		rand.Read(raw)
		secret = base64.StdEncoding.EncodeToString(raw)
		row.Sealed = a.ring.Seal([]byte(secret), []byte(row.ID))
	}
	if err := a.propose(&catalog.PutCredential{Create: true, Credential: row}); err != nil {
		return nil, err
	}
	return &adminAnswer{ID: row.ID, Secret: secret}, nil
}

// randomText is n random bytes as lower-case letters and digits.
func randomText(n int) string {
	raw := make([]byte, n)
	rand.Read(raw)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
}

func (a *administrator) list() (*adminAnswer, error) {
	out := &adminAnswer{}
	err := a.cat.Credentials(func(c *catalog.Credential) error {
		row := adminCredential{ID: c.ID, Kind: c.Kind, User: c.User, Account: c.Account, Admin: c.Admin, Policies: c.Policies,
			Created: c.Created, Disabled: c.Disabled, Note: c.Note}
		if !c.Expires.IsZero() {
			row.Expires = &c.Expires
		}
		out.Credentials = append(out.Credentials, row)
		return nil
	})
	return out, err
}

func (a *administrator) explain(o adminOrder) (*adminAnswer, error) {
	action, ok := policy.ParseAction(o.Action)
	if !ok {
		return nil, fmt.Errorf("action %q is not known, want one such as codeartifact:ReadFromRepository", o.Action)
	}
	res, err := policy.ParseARN(o.Resource)
	if err != nil {
		return nil, fmt.Errorf("resource %q: %w", o.Resource, err)
	}
	c, err := a.gate.ByARN(o.User)
	if err != nil {
		return nil, err
	}
	e := a.gate.Explain(c, action, res, access.Circumstances{Now: a.now(), Secure: true})
	return &adminAnswer{Explanation: &e}, nil
}

// ServeHTTP takes one order as JSON.
func (a *administrator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var o adminOrder
	answer, err := (*adminAnswer)(nil), json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&o)
	if err == nil {
		answer, err = a.do(o)
	}
	status := http.StatusOK
	if err != nil {
		answer, status = &adminAnswer{Error: err.Error()}, http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A caller that left has no use for the answer.
	_ = json.NewEncoder(w).Encode(answer)
}

// listenAdmin serves orders on the socket until the returned function is called.
func listenAdmin(data string, a *administrator, log *slog.Logger) (stop func(), err error) {
	path := adminSocket(data)
	// The store's lock is held, so a socket that is there belongs to nobody.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old admin socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		// Some file systems and long paths have no sockets; the node works
		// without, and credentials are then made while it is stopped.
		log.Warn("no admin socket; larder credential works only while the node is stopped", "event", "admin_socket_failed", "error", err)
		return func() {}, nil
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect admin socket: %w", err), ln.Close())
	}
	srv := &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("admin socket ended", "event", "admin_socket_failed", "error", err)
		}
	}()
	return func() { _ = srv.Close(); <-done }, nil
}

// order carries an order out: by the running node of the data directory, or
// directly where none runs.
func order(ctx context.Context, cfg *Config, o adminOrder) (*adminAnswer, error) {
	answer, err := orderSocket(ctx, cfg.Data, o)
	if err == nil || !errors.Is(err, errNoNode) {
		return answer, err
	}
	db, err := store.Open(cfg.storeConfig(slog.New(slog.DiscardHandler)))
	if errors.Is(err, syscall.EAGAIN) {
		return nil, fmt.Errorf("data directory %s is in use by a node whose admin socket does not answer", cfg.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	answer, err = orderStore(cfg, db, o)
	return answer, errors.Join(err, db.Close())
}

func orderStore(cfg *Config, db *store.DB, o adminOrder) (*adminAnswer, error) {
	cat, err := catalog.New(catalog.Config{Store: db, Domain: cfg.Domain})
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	g, ring, err := openGate(cfg, cat)
	if err != nil {
		return nil, err
	}
	return (&administrator{cat: cat, ring: ring, gate: g, owner: cfg.Owner, now: time.Now}).do(o)
}

var errNoNode = errors.New("no node is running")

func orderSocket(ctx context.Context, data string, o adminOrder) (*adminAnswer, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", adminSocket(data))
	}}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode order: %w", err)
	}
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://larder/", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make order: %w", err)
	}
	resp, err := client.Do(rq)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNoNode
	}
	if err != nil {
		return nil, fmt.Errorf("reach the running node: %w", err)
	}
	defer resp.Body.Close()
	var answer adminAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("read the node's answer: %w", err)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return &answer, nil
}
