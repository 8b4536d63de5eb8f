// Package formats owns the vocabulary that every ecosystem shares and the
// contract that an ecosystem's room fulfils. A format is a pure translator: it
// turns a request into a target, an upstream document into rows, and rows into
// the document its client wants. It never opens a socket, a store or a clock;
// what it needs from outside it asks of the proxy through Docs.
//
// Glossary (the code uses only these words):
//
//	format      one ecosystem's protocol: npm, pypi, maven, go, cargo, ...
//	endpoint    the URL below which one repository speaks one format
//	connection  an external connection: one registry outside
//	name        a package's identity inside a format
//	version     one released state of a name, as its metadata describes it
//	asset       one file of a version; immutable once held
//	listing     the document that lists a name's versions (packument, simple
//	            index, maven-metadata.xml, @v/list, index file)
//	document    an upstream document outside packages, kept whole
//	sidecar     a small file derived from an asset (checksum, core metadata)
//	row         the stored form of a head, a version or an asset
//	raw         the byte-exact upstream fragment a row carries
//	held        present in this node's store
//	target      what a request asks for, parsed
//	refusal     an answer that is an error, before a format words it
package formats
