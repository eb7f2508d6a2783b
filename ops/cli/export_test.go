package cli

// Explain is explain, for tests of errors that no server at hand gives.
var Explain = explain
