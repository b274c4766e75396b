W=/work/wt/perf; O=$(ls -d $W/build/obj-* | head -1)
gcc -O2 -std=gnu11 -I$W -I$W/src -I$W/include ll.c -o $1 $O/libwc.a $O/libwcdecode.a $(sed -n 's/^.*LIBS *:= *//p;s/^.*LDLIBS *:= *//p' $W/Makefile | head -1) -fopenmp -lm
