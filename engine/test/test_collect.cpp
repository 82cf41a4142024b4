#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "check.hpp"
#include "everglade/collect.hpp"
#include "everglade/top_k.hpp"

using everglade::Key;
using everglade::make_key;

TEST(keys_order_by_score_then_by_smaller_number) {
    CHECK(make_key(2, 9) > make_key(1, 0));
    CHECK(make_key(2, 3) > make_key(2, 4));
    CHECK(everglade::score_of(make_key(0xFFFFFFFF, 5)) == 0xFFFFFFFF);
    CHECK(everglade::number_of(make_key(7, 0xFFFFFFFF)) == 0xFFFFFFFF);
}

TEST(every_way_to_collect_equals_portable_and_clears) {
    std::mt19937 random(2);
    for (const everglade::Collect collect : everglade::ways_to_collect()) {
        for (std::size_t count = 0; count < 300; ++count) {
            for (const std::uint32_t floor : {1u, 2u, 3u, 0x80000000u, 0xFFFFFFFFu}) {
                // Scores on both sides of the floor and of the sign bit, which has no say here.
                const std::uint32_t most = std::min<std::uint32_t>(floor, 0xFFFFFFFE) + 1;
                std::vector<std::uint32_t> scores(count);
                for (std::uint32_t& score : scores) {
                    score = std::min(most, floor - 1 + static_cast<std::uint32_t>(random() % 3));
                }
                std::vector<std::uint32_t> same = scores;
                std::vector<Key> found(count + 1), expected(count + 1);
                const Key* end = collect(scores.data(), count, floor, 1000, found.data());
                const Key* expected_end = everglade::collect_portable(same.data(), count, floor, 1000, expected.data());
                CHECK(end - found.data() == expected_end - expected.data());
                CHECK(found == expected);
                CHECK(std::all_of(scores.begin(), scores.end(), [](std::uint32_t score) { return score == 0; }));
            }
        }
    }
}

TEST(top_k_equals_sorting) {
    std::mt19937 random(3);
    everglade::TopK top;
    for (const std::size_t k : {1, 2, 10, 127, 128, 200, 1000, 5000}) {
        for (const std::uint32_t spread : {1u, 5u, 100'000u}) {
            std::vector<Key> all;
            top.begin(k, 1);
            for (std::uint32_t local = 0; local < 4000;) {
                Key* end = top.room(100);
                for (int i = 0; i < 100; ++i, ++local) {
                    const std::uint32_t score = 1 + static_cast<std::uint32_t>(random()) % spread;
                    all.push_back(make_key(score, local));
                    if (score >= top.floor()) *end++ = all.back();
                }
                top.gathered(end);
            }
            std::sort(all.begin(), all.end(), std::greater<>());
            all.resize(std::min(all.size(), k));
            const auto found = top.finish();
            CHECK(std::equal(found.begin(), found.end(), all.begin(), all.end()));
        }
    }
}
