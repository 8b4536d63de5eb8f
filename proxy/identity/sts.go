package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"
)

const (
	stsVersion   = "2011-06-15"
	stsNamespace = "https://sts.amazonaws.com/doc/" + stsVersion + "/"
	maxSTSForm   = 64 << 10
)

type stsMetadata struct {
	RequestID string `xml:"RequestId"`
}

type assumeRoleResponse struct {
	XMLName  xml.Name         `xml:"AssumeRoleWithWebIdentityResponse"`
	XMLNS    string           `xml:"xmlns,attr"`
	Result   assumeRoleResult `xml:"AssumeRoleWithWebIdentityResult"`
	Metadata stsMetadata      `xml:"ResponseMetadata"`
}

type assumeRoleResult struct {
	Subject     string `xml:"SubjectFromWebIdentityToken"`
	Audience    string `xml:"Audience"`
	AssumedRole struct {
		ARN string `xml:"Arn"`
		ID  string `xml:"AssumedRoleId"`
	} `xml:"AssumedRoleUser"`
	Credentials struct {
		AccessKeyID     string `xml:"AccessKeyId"`
		SecretAccessKey string `xml:"SecretAccessKey"`
		SessionToken    string `xml:"SessionToken"`
		Expiration      string `xml:"Expiration"`
	} `xml:"Credentials"`
	Provider string `xml:"Provider"`
}

type callerIdentityResponse struct {
	XMLName xml.Name `xml:"GetCallerIdentityResponse"`
	XMLNS   string   `xml:"xmlns,attr"`
	Result  struct {
		ARN     string `xml:"Arn"`
		UserID  string `xml:"UserId"`
		Account string `xml:"Account"`
	} `xml:"GetCallerIdentityResult"`
	Metadata stsMetadata `xml:"ResponseMetadata"`
}

type stsErrorResponse struct {
	XMLName xml.Name `xml:"ErrorResponse"`
	XMLNS   string   `xml:"xmlns,attr"`
	Error   struct {
		Type    string `xml:"Type"`
		Code    string `xml:"Code"`
		Message string `xml:"Message"`
	} `xml:"Error"`
	RequestID string `xml:"RequestId"`
}

// ServeHTTP answers an STS request at whatever path it is mounted: a form by
// POST, or a query by GET.
func (f *Federation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID()
	answer, err := f.serve(r, id)
	status := http.StatusOK
	if err != nil {
		status, answer = stsError(err, id)
	}
	if status >= http.StatusInternalServerError && f.cfg.Failed != nil {
		f.cfg.Failed(r, err)
	}
	body, err := xml.MarshalIndent(answer, "", "  ")
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/xml")
	h.Set("X-Amzn-Requestid", id)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A client that went away is not our failure.
	_, _ = w.Write(append(body, '\n'))
}

func (f *Federation) serve(r *http.Request, id string) (any, error) {
	form, err := stsForm(r)
	if err != nil {
		return nil, err
	}
	if v := form.Get("Version"); v != "" && v != stsVersion {
		return nil, &Error{Code: "InvalidAction", Status: 400, Message: "There is no such version of this API."}
	}
	switch form.Get("Action") {
	case "AssumeRoleWithWebIdentity":
		return f.serveAssume(r, form, id)
	case "GetCallerIdentity":
		c, err := f.cfg.Signatures.Verify(r, Check{Service: "sts", MaxBody: maxSTSForm})
		if err != nil {
			return nil, err
		}
		a := &callerIdentityResponse{XMLNS: stsNamespace, Metadata: stsMetadata{id}}
		a.Result.ARN, a.Result.UserID, a.Result.Account = c.Principal.ARN, c.Principal.UserID(), c.Principal.Account
		return a, nil
	case "":
		return nil, &Error{Code: "MissingAction", Status: 400, Message: "The request has no Action."}
	}
	return nil, &Error{Code: "InvalidAction", Status: 400, Message: "This action is not offered here."}
}

func (f *Federation) serveAssume(r *http.Request, form url.Values, id string) (any, error) {
	role := form.Get("RoleArn")
	a, err := f.assume(r, form, role)
	if f.cfg.Assumed != nil {
		var p *Principal
		if err == nil {
			p = &a.Credentials.Principal
		}
		f.cfg.Assumed(r, role, p, err)
	}
	if err != nil {
		return nil, err
	}
	c := a.Credentials
	out := &assumeRoleResponse{XMLNS: stsNamespace, Metadata: stsMetadata{id}}
	res := &out.Result
	res.Subject, res.Audience, res.Provider = a.Subject, a.Audience, a.Provider
	res.AssumedRole.ARN, res.AssumedRole.ID = c.Principal.ARN, c.Principal.UserID()
	res.Credentials.AccessKeyID, res.Credentials.SecretAccessKey = c.AccessKeyID, c.SecretAccessKey
	res.Credentials.SessionToken = c.SessionToken
	res.Credentials.Expiration = c.Principal.Expires.UTC().Format(time.RFC3339)
	return out, nil
}

func (f *Federation) assume(r *http.Request, form url.Values, role string) (*Assumption, error) {
	for name := range form {
		switch name {
		case "Action", "Version", "RoleArn", "RoleSessionName", "WebIdentityToken", "DurationSeconds":
			if len(form[name]) > 1 {
				return nil, stsInvalid("%s is given more than once", name)
			}
		default:
			// A session policy would narrow the session: ignoring one is a hole.
			return nil, stsInvalid("the parameter %q is not supported", name)
		}
	}
	seconds, err := parseSeconds(form.Get("DurationSeconds"))
	if err != nil {
		return nil, err
	}
	return f.AssumeRoleWithWebIdentity(r.Context(), role, form.Get("RoleSessionName"), form.Get("WebIdentityToken"), seconds)
}

// stsForm reads the parameters, and puts the body back for the signature.
func stsForm(r *http.Request) (url.Values, error) {
	switch r.Method {
	case http.MethodGet:
		form, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return nil, stsInvalid("the query is malformed")
		}
		return form, nil
	case http.MethodPost:
	default:
		return nil, &Error{Code: "InvalidAction", Status: 405, Message: "Use GET or POST."}
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return nil, stsInvalid("the body must be a form")
	}
	if _, err := bufferBody(r, maxSTSForm); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read form: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, stsInvalid("the form is malformed")
	}
	return form, nil
}

// stsCode is STS's older word for a code of the signature: it speaks the query
// protocol, whose common errors have other names.
func stsCode(code string) string {
	switch code {
	case CodeMissingToken:
		return "MissingAuthenticationToken"
	case CodeIncompleteSignature:
		return "IncompleteSignature"
	case CodeUnrecognizedClient:
		return "InvalidClientTokenId"
	case CodeInvalidSignature:
		return "SignatureDoesNotMatch"
	case CodeValidation:
		return "ValidationError"
	}
	return code
}

// stsError renders a refusal. What is not an *Error is a failure of ours, and
// its text stays here.
func stsError(err error, id string) (int, any) {
	out := &stsErrorResponse{XMLNS: stsNamespace, RequestID: id}
	out.Error.Type, out.Error.Code, out.Error.Message = "Receiver", "InternalFailure", "The request could not be served."
	var e *Error
	if !errors.As(err, &e) {
		return http.StatusInternalServerError, out
	}
	if e.Status < 500 {
		out.Error.Type = "Sender"
	}
	out.Error.Code, out.Error.Message = stsCode(e.Code), e.Message
	// A session that ended is ExpiredToken here; only a web identity has the
	// longer name (STS API reference, AssumeRoleWithWebIdentity).
	if e.Code == CodeExpiredToken && e.Status == http.StatusForbidden {
		out.Error.Code = "ExpiredToken"
	}
	return e.Status, out
}

// requestID is a random id in the shape of a UUID.
func requestID() string {
	var b [16]byte
	rand.Read(b[:])
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
