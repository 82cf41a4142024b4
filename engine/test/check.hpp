#pragma once

// The whole test framework: TEST defines and registers a case, CHECK fails it, and main() runs them all.

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace check {

struct Case {
    const char* name;
    void (*run)();
};

inline std::vector<Case>& cases() {
    static std::vector<Case> all;
    return all;
}

struct Registered {
    Registered(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

inline void require(bool holds, const char* what, const char* file, int line) {
    if (!holds) throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

/// Whether `run` throws an Error. Any other exception passes through.
template <typename Error, typename Run>
bool throws(Run run) {
    try {
        run();
    } catch (const Error&) {
        return true;
    }
    return false;
}

}  // namespace check

#define TEST(name)                                                 \
    static void name();                                            \
    static const check::Registered registered_##name(#name, name); \
    static void name()

#define CHECK(...) check::require((__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)

int main() {
    int failures = 0;
    for (const check::Case& test : check::cases()) {
        try {
            test.run();
        } catch (const std::exception& error) {
            ++failures;
            std::fprintf(stderr, "%s failed\n  %s\n", test.name, error.what());
        }
    }
    std::printf("%zu tests, %d failed\n", check::cases().size(), failures);
    return failures == 0 ? 0 : 1;
}
