package consumers_test

func runChild() bool { return false }
