// One piece of work on several threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace everglade {

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
