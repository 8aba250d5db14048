// Put before every source in this folder. Kernels take pointers and `i64` scalars only, so that every argument is
// one 8-byte word.
typedef unsigned char u8;
typedef unsigned short u16;
typedef short i16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
