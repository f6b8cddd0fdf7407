/* Stands in for onnxruntime_perf_test, which no package registry has: it prints and writes what that does, of times
   that are the model file's size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    int runs = 0;
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], "-r")) runs = atoi(argv[i + 1]);
    FILE *model = fopen(argv[argc - 2], "rb");
    if (!model || runs < 1) return 3;
    fseek(model, 0, SEEK_END);
    double seconds = ftell(model) * 1e-8;
    fclose(model);
    FILE *out = fopen(argv[argc - 1], "a");
    if (!out) return 4;
    for (int i = 0; i < runs; i++) fprintf(out, "files,%g,36696064,98,%d\n", seconds, i);
    fclose(out);
    printf("Setting intra_op_num_threads to 1\n");
    printf("Session creation time cost: 0.0125 s\nFirst inference time cost: 2 ms\n");
    printf("Total inference time cost: %g s\nTotal inference requests: %d\n", runs * seconds, runs);
    printf("Average inference time cost: %g ms\n", seconds * 1e3);
    return 0;
}
