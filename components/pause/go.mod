module vial.invalid/components/pause

go 1.26.0
