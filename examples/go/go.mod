module handoff.example/go

go 1.19
