package catalog

import (
	"errors"
	"fmt"
	"time"
)

// Kinds of credentials.
const (
	AccessKey  = "access-key"  // for SigV4: the secret is sealed, since both sides must know it
	RobotToken = "robot-token" // for package managers: only its SHA-256 is kept
)

// Credential is the row of a credential.
type Credential struct {
	ID       string    `cbor:"1,keyasint"` // access key id, or the token's public part
	Kind     string    `cbor:"2,keyasint"`
	User     string    `cbor:"3,keyasint"`
	Account  string    `cbor:"4,keyasint"` // 12 digits
	Admin    bool      `cbor:"5,keyasint,omitempty"`
	Policies []string  `cbor:"6,keyasint,omitempty"` // identity policy documents that come with it
	Sealed   []byte    `cbor:"7,keyasint,omitempty"`
	SHA256   []byte    `cbor:"8,keyasint,omitempty"`
	Created  time.Time `cbor:"9,keyasint"`
	Expires  time.Time `cbor:"10,keyasint,omitempty"` // zero never
	Disabled bool      `cbor:"11,keyasint,omitempty"`
	Note     string    `cbor:"12,keyasint,omitempty"`
}

func credentialKey(id string) []byte { return controlKey(famCredential, id) }

// PutCredential adds or replaces a credential.
type PutCredential struct {
	Credential Credential `cbor:"1,keyasint"`
	Create     bool       `cbor:"2,keyasint,omitempty"` // an existing one is an error
}

func (*PutCredential) kind() string                     { return "put-credential" }
func (*PutCredential) locks() (bool, string, string)    { return true, "", "" }
func (*DeleteCredential) kind() string                  { return "delete-credential" }
func (*DeleteCredential) locks() (bool, string, string) { return true, "", "" }
func (*Revoke) kind() string                            { return "revoke" }
func (*Revoke) locks() (bool, string, string)           { return true, "", "" }

func (op *PutCredential) apply(m *machine) error {
	id := op.Credential.ID
	if _, err := m.c.Credential(id); err == nil && op.Create {
		return fault(FaultConflict, "credential", id, "A credential with the id '%s' exists already", id)
	}
	m.tell(Entry{Cause: CauseControl, Note: "credential " + id + " of " + op.Credential.User + " changed"})
	return m.put(credentialKey(id), op.Credential)
}

// DeleteCredential takes a credential away.
type DeleteCredential struct {
	ID string `cbor:"1,keyasint"`
}

func (op *DeleteCredential) apply(m *machine) error {
	if _, err := m.c.Credential(op.ID); err != nil {
		return fault(FaultNotFound, "credential", op.ID, "No credential has the id '%s'", op.ID)
	}
	m.b.Delete(credentialKey(op.ID))
	m.tell(Entry{Cause: CauseControl, Note: "credential " + op.ID + " deleted"})
	return nil
}

// Credential returns a credential by its id, or ErrNotFound.
func (c *Catalog) Credential(id string) (*Credential, error) {
	var row Credential
	if err := c.get(credentialKey(id), &row); err != nil {
		return nil, err
	}
	return &row, nil
}

// Credentials calls fn for all credentials in the order of their ids.
func (c *Catalog) Credentials(fn func(*Credential) error) error {
	return c.db.Rows([]byte{famCredential, 0}, nil, func(key, val []byte) error {
		var row Credential
		if err := c.dec.Unmarshal(val, &row); err != nil {
			return fmt.Errorf("decode credential row: %w", err)
		}
		return fn(&row)
	})
}

// Kinds of revocations.
const (
	RevokedToken   = "token"
	RevokedSubject = "subject"
	RevokedKey     = "key"
)

// Revocation denies tokens that were issued. Entries only ever widen a denial,
// so that the sets of two nodes merge by union.
type Revocation struct {
	Kind  string    `cbor:"1,keyasint"` // RevokedToken, RevokedSubject or RevokedKey
	Value string    `cbor:"2,keyasint"` // jti, principal, key id
	At    time.Time `cbor:"3,keyasint"` // tokens issued up to then are denied
}

// Revoke adds a revocation.
type Revoke struct {
	Revocation Revocation `cbor:"1,keyasint"`
}

func (op *Revoke) apply(m *machine) error {
	r := op.Revocation
	switch r.Kind {
	case RevokedToken, RevokedSubject, RevokedKey:
	default:
		return fault(FaultValidation, "revocation", r.Kind, "'%s' cannot be revoked: want %s, %s or %s", r.Kind, RevokedToken, RevokedSubject, RevokedKey)
	}
	if r.Value == "" {
		return fault(FaultValidation, "revocation", r.Kind, "a revocation names what it denies")
	}
	if err := noNUL("revocation", r.Value); err != nil {
		return err
	}
	key := controlKey(famRevocation, r.Kind, r.Value)
	var old Revocation
	if err := m.c.get(key, &old); err == nil && old.At.After(r.At) {
		r.At = old.At
	} else if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	m.tell(Entry{Cause: CauseControl, Note: "revoked " + r.Kind + " " + r.Value})
	return m.put(key, r)
}

// Revocations calls fn for all revocations.
func (c *Catalog) Revocations(fn func(Revocation) error) error {
	return c.db.Rows([]byte{famRevocation, 0}, nil, func(key, val []byte) error {
		var row Revocation
		if err := c.dec.Unmarshal(val, &row); err != nil {
			return fmt.Errorf("decode revocation row: %w", err)
		}
		return fn(row)
	})
}
