package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// sessionPrefix begins the access key ids of temporary credentials, as at AWS.
const sessionPrefix = "ASIA"

// sessionName is STS's grammar of a RoleSessionName.
var sessionName = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{2,64}$`)

// SessionConfig configures Sessions.
type SessionConfig struct {
	Issuer   *Issuer   // required
	Verifier *Verifier // required; trusts the issuers of all nodes
	// Secrets are what access keys are derived from, at least 32 bytes each; the
	// first one for new sessions, all for those that live. Nodes that accept each
	// other's sessions hold the same ones.
	Secrets [][]byte
	Now     func() time.Time // nil means time.Now
}

// Sessions issues and recognises temporary credentials. It keeps nothing: the
// session token says whose they are, the access key id names the session, and
// the secret follows from that id and the site's secret. It is safe for
// concurrent use.
type Sessions struct {
	cfg     SessionConfig
	current string
	secrets map[string][]byte // by id
}

// Credentials are what a role's session signs with.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Principal       Principal // its Expires is theirs
}

// NewSessions returns the sessions of a site.
func NewSessions(cfg SessionConfig) (*Sessions, error) {
	if cfg.Issuer == nil || cfg.Verifier == nil {
		return nil, errors.New("sessions need an issuer and a verifier of tokens")
	}
	if len(cfg.Secrets) == 0 {
		return nil, errors.New("sessions need a secret")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Sessions{cfg: cfg, secrets: map[string][]byte{}}
	for i, secret := range cfg.Secrets {
		if len(secret) < 32 {
			return nil, errors.New("a secret of sessions must have at least 32 bytes")
		}
		id := hmacSHA256(secret, []byte("larder sts secret id"))
		name := hex.EncodeToString(id[:4])
		if i == 0 {
			s.current = name
		}
		s.secrets[name] = secret
	}
	return s, nil
}

// Open starts a session of role (an ARN of iam) under name for life, 900 to
// 43200 seconds.
func (s *Sessions) Open(role, name string, life time.Duration) (*Credentials, error) {
	service, account, resource, ok := arnParts(role)
	path, isRole := strings.CutPrefix(resource, "role/")
	if _, short := cutLast(path); !ok || service != "iam" || !isRole || !isAccount(account) || short == "" {
		return nil, fmt.Errorf("open session: %q is not the ARN of a role", role)
	}
	if !sessionName.MatchString(name) {
		return nil, fmt.Errorf("open session: %q is not a session name", name)
	}
	if life < MinLifeSeconds*time.Second || life > maxLife {
		return nil, fmt.Errorf("open session: a session cannot live %s", life)
	}
	_, short := cutLast(path)
	id := rand.Text()[:16]
	now := s.cfg.Now()
	c := &Claims{
		Principal: Principal{
			ARN: "arn:aws:sts::" + account + ":assumed-role/" + short + "/" + name, Account: account, Name: short + "/" + name,
			Kind: KindRole, Role: role, Session: id, Expires: time.Unix(now.Add(life).Unix(), 0).UTC(),
		},
		ID: id, IssuedAt: now, Expires: now.Add(life), secretID: s.current,
	}
	token, err := s.cfg.Issuer.sign(typSession, c)
	if err != nil {
		return nil, err
	}
	return &Credentials{AccessKeyID: sessionPrefix + id, SecretAccessKey: sessionSecret(s.secrets[s.current], id), SessionToken: token, Principal: c.Principal}, nil
}

// lookup returns the secret of a session and whose it is. All errors are
// *Error.
func (s *Sessions) lookup(keyID, token string) (AccessKey, error) {
	c, err := s.cfg.Verifier.verify(typSession, token)
	if err != nil && !errors.Is(err, ErrExpired) {
		return AccessKey{}, unrecognized(err)
	}
	if err != nil {
		return AccessKey{}, expiredSession(err)
	}
	secret := s.secrets[c.secretID]
	if secret == nil || subtle.ConstantTimeCompare([]byte(keyID), []byte(sessionPrefix+c.ID)) != 1 {
		return AccessKey{}, unrecognized(nil)
	}
	return AccessKey{Secret: sessionSecret(secret, c.ID), Principal: c.Principal}, nil
}

// sessionSecret is the secret access key of a session: 240 bits in the 40
// characters that AWS's have.
func sessionSecret(secret []byte, id string) string {
	sum := hmacSHA256(secret, []byte("larder sts secret access key\x00"+id))
	return base64.StdEncoding.EncodeToString(sum[:sha256.Size-2])
}
