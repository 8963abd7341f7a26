#define CATCH_CONFIG_RUNNER
#include <openssl/crypto.h>

#include <catch2/catch.hpp>
#include <cstdlib>

#include "allocations.hpp"

namespace {

std::size_t asked = 0;

void* counted_malloc(std::size_t bytes, const char*, int) {
    ++asked;
    return std::malloc(bytes);
}
void* counted_realloc(void* old, std::size_t bytes, const char*, int) {
    ++asked;
    return std::realloc(old, bytes);
}
void uncounted_free(void* old, const char*, int) { std::free(old); }

}  // namespace

std::size_t sluice::test::libcrypto_allocations() { return asked; }

int main(int argc, char** argv) {
    // It can be told only before it has allocated anything.
    if (CRYPTO_set_mem_functions(counted_malloc, counted_realloc, uncounted_free) != 1) return 1;
    return Catch::Session().run(argc, argv);
}
