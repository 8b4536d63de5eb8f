package catalog

import (
	"fmt"
	"strings"
)

// FaultKind is the closed list of reasons for which a command is refused. The
// names are CodeArtifact's (API reference, "Common errors").
type FaultKind uint8

const (
	FaultValidation FaultKind = iota
	FaultNotFound
	FaultConflict
	FaultQuota
	FaultDenied
)

func (k FaultKind) String() string {
	return [...]string{"ValidationException", "ResourceNotFoundException", "ConflictException", "ServiceQuotaExceededException", "AccessDeniedException"}[k]
}

// Fault is a command that was refused. Nothing was changed.
type Fault struct {
	Kind         FaultKind
	Message      string // one sentence for the caller
	Resource     string // its id
	ResourceType string // domain, repository, package, package-version, asset
}

func (f *Fault) Error() string { return f.Message }

func fault(k FaultKind, typ, id, format string, args ...any) *Fault {
	return &Fault{Kind: k, Message: fmt.Sprintf(format, args...), Resource: id, ResourceType: typ}
}

// noNUL refuses parts of a coordinate that hold the character which parts the
// keys of rows: they would reach into the rows of another coordinate.
func noNUL(typ string, parts ...string) error {
	for _, p := range parts {
		if strings.ContainsRune(p, 0) {
			return fault(FaultValidation, typ, p, "%q holds a NUL character", p)
		}
	}
	return nil
}
