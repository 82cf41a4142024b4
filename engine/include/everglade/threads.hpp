// One piece of work on several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace everglade {

/// A machine gains nothing from more threads than it has cores; the least is for tests on small ones.
inline constexpr std::size_t kThreadsAlwaysGranted = 8;

/// How many threads are of use where `n_threads` were asked for.
inline std::size_t granted_threads(std::size_t n_threads) noexcept {
    return std::min(n_threads, std::max<std::size_t>(std::thread::hardware_concurrency(), kThreadsAlwaysGranted));
}

/// Run `work` here and on up to n_threads - 1 threads more, and pass on the first exception one of them throws.
template <typename Work>
void run_on_threads(std::size_t n_threads, Work work) {
    std::exception_ptr failure;
    std::atomic_flag failed = ATOMIC_FLAG_INIT;
    const auto guarded = [&]() noexcept {
        try {
            work();
        } catch (...) {
            if (!failed.test_and_set()) failure = std::current_exception();
        }
    };
    std::vector<std::thread> helpers;
    helpers.reserve(n_threads - 1);
    try {
        while (helpers.size() + 1 < n_threads) helpers.emplace_back(guarded);
    } catch (const std::exception&) {
        // The system gives no more threads, or no memory for them; those we have share the work.
    }
    guarded();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace everglade
