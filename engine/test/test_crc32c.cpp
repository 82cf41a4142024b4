#include <random>
#include <string>

#include "check.hpp"
#include "everglade/crc32c.hpp"

using everglade::crc32c;
using everglade::crc32c_portable;

TEST(known_sums) {
    // RFC 3720, appendix B.4, and the usual check value.
    std::string ascending;
    for (char byte = 0; byte < 32; ++byte) ascending += byte;
    CHECK(crc32c("123456789", 9) == 0xE3069283);
    CHECK(crc32c(std::string(32, '\0').data(), 32) == 0x8A9136AA);
    CHECK(crc32c(std::string(32, '\xFF').data(), 32) == 0x62A8AB43);
    CHECK(crc32c(ascending.data(), 32) == 0x46DD794E);
    CHECK(crc32c(nullptr, 0) == 0);
}

TEST(fast_equals_portable_at_every_length_and_start) {
    std::mt19937 random(1);
    std::string bytes(400, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    for (std::size_t start = 0; start < 16; ++start) {
        for (std::size_t size = 0; start + size <= bytes.size(); ++size) {
            CHECK(crc32c(bytes.data() + start, size) == crc32c_portable(bytes.data() + start, size));
        }
    }
}

TEST(pieces_sum_like_the_whole) {
    const std::string bytes = "the reed bends, the river does not hurry";
    const std::uint32_t whole = crc32c(bytes.data(), bytes.size());
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        CHECK(crc32c(bytes.data() + cut, bytes.size() - cut, crc32c(bytes.data(), cut)) == whole);
    }
}
