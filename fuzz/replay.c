/* fuzz/replay.c: runs every file of the directories (or files) given through the fuzz target it is linked to, so
 * that the committed corpus is a test with any compiler. Prints how many inputs ran; no input is a failure. */
#include <dirent.h>
#include <sys/stat.h>

#include "../wire/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input in an allocation of exactly its size, so that a sanitizer sees a read past it. */
static void run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	ENSURE(file != NULL);
	ENSURE(fseek(file, 0, SEEK_END) == 0);
	long size = ftell(file);
	ENSURE(size >= 0);
	rewind(file);
	uint8_t *bytes = malloc(size > 0 ? (size_t)size : 1);
	ENSURE(bytes != NULL);
	ENSURE(fread(bytes, 1, (size_t)size, file) == (size_t)size);
	(void)fclose(file);
	(void)LLVMFuzzerTestOneInput(bytes, (size_t)size);
	free(bytes);
}

static unsigned run_directory(const char *path)
{
	unsigned count = 0;
	DIR *dir = opendir(path);
	ENSURE(dir != NULL);
	for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
		char name[4096];
		if (entry->d_name[0] == '.')
			continue;
		int len = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
		ENSURE(len > 0 && (size_t)len < sizeof name);
		run_file(name);
		count++;
	}
	(void)closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	for (int i = 1; i < argc; i++) {
		struct stat info;
		if (stat(argv[i], &info) != 0) {
			(void)fprintf(stderr, "replay: %s is not there\n", argv[i]);
			return 1;
		}
		if (S_ISDIR(info.st_mode)) {
			count += run_directory(argv[i]);
		} else {
			run_file(argv[i]);
			count++;
		}
	}
	printf("%u inputs\n", count);
	return count > 0 ? 0 : 1;
}
