module hellos.example

go 1.19
