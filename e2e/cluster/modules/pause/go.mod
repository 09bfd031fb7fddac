// The first process of the node and of each pod.
module portreeve.test/e2e/cluster/pause

go 1.26.8
