#include <unistd.h>

#include <fstream>
#include <numeric>
#include <stdexcept>

#include "check.hpp"
#include "corpus.hpp"
#include "everglade/errors.hpp"
#include "everglade/format.hpp"
#include "everglade/segment.hpp"
#include "everglade/utf8.hpp"

using corpus::at;
using corpus::Corpus;
using everglade::Segment;

namespace {

Corpus three_documents(std::uint32_t n_terms = 50) {
    Corpus made;
    made.n_terms = n_terms;
    made.add("a", {{1, 5}, {4, 255}});
    made.add("b", {});
    made.add("\xC3\xA9", {{1, 2}});
    return made;
}

bool is_refused(const Corpus& corpus) {
    return check::throws<std::invalid_argument>([&] { corpus.write(at("refused")); }) &&
           !std::filesystem::exists(at("refused")) && !std::filesystem::exists(at("refused.tmp"));
}

}  // namespace

TEST(what_was_written_is_read) {
    for (const std::uint32_t n_terms : {50u, 65'536u, 65'537u}) {
        const auto written = three_documents(n_terms).write(at("round"));
        const Segment segment(at("round"));
        CHECK(segment.n_documents() == 3 && segment.n_postings() == 3 && segment.n_terms() == n_terms);
        CHECK(segment.number() == 7 && segment.uuid()[0] == 1 && segment.uuid()[15] == 0);
        CHECK(written.n_documents == 3 && written.n_postings == 3);
        CHECK(written.size_bytes == segment.size_bytes() && written.crc32c == segment.crc32c());
        CHECK(segment.id(0) == "a" && segment.id(2) == "\xC3\xA9");
        CHECK(segment.find("b") == 1u && !segment.find("") && !segment.find("zz") && !segment.find("\xC3"));
        CHECK(segment.row(0) == std::pair<std::uint64_t, std::uint64_t>(0, 2));
        CHECK(segment.rows().term(1) == 4 && segment.rows().impacts[1] == 255);
        CHECK(segment.find_term(4) == 1u && !segment.find_term(0) && !segment.find_term(49));
        CHECK(check::throws<std::invalid_argument>([&] { segment.id(3); }));
        CHECK(check::throws<std::invalid_argument>([&] { segment.row(3); }));
    }
}

TEST(blocks_are_the_postings_of_a_term_in_a_window) {
    Corpus made;
    const std::uint32_t window = everglade::format::kWindow;
    for (std::uint32_t d = 0; d < 2 * window + 2; ++d) {
        corpus::Row row;
        if (d == 0 || d == window - 1 || d == window || d == 2 * window + 1)
            row[3] = static_cast<std::uint8_t>(1 + d % 7);
        if (d == window + 5) row[9] = 200;
        made.add(corpus::padded(d), row);
    }
    made.write(at("blocks"));
    const Segment segment(at("blocks"));
    const auto& postings = segment.postings();
    const auto equal = [](auto span, std::vector<std::uint64_t> expected) {
        return std::equal(span.begin(), span.end(), expected.begin(), expected.end());
    };
    CHECK(equal(postings.terms, {3, 9}));
    CHECK(equal(postings.term_blocks, {0, 3, 4}));
    CHECK(equal(postings.block_windows, {0, 1, 2, 1}));
    CHECK(equal(postings.block_postings, {0, 2, 3, 4, 5}));
    CHECK(equal(postings.documents, {0, window - 1, 0, 1, 5}));
    const auto impacts =
        postings.impacts.visit([](auto all) { return std::vector<std::uint64_t>(all.begin(), all.end()); });
    const auto bounds =
        postings.block_bounds.visit([](auto all) { return std::vector<std::uint64_t>(all.begin(), all.end()); });
    CHECK(equal(impacts, {1, 1 + (window - 1) % 7, 1 + window % 7, 1 + (2 * window + 1) % 7, 200}));
    CHECK(equal(bounds,
                {std::max<std::uint64_t>(1, 1 + (window - 1) % 7), 1 + window % 7, 1 + (2 * window + 1) % 7, 200}));
}

TEST(features_are_what_was_asked_for) {
    std::mt19937 random(3);
    Corpus made = three_documents();
    made.shuffle(random);
    made.prune();
    made.weigh();
    made.wide = true;
    made.wide_impacts[1] = 40'000;
    made.write(at("features"));
    const Segment segment(at("features"));
    CHECK(segment.is_wide() && segment.is_reordered() && segment.is_pruned() && segment.has_rows());
    CHECK(segment.features() == 7 && segment.has_weights());
    CHECK(segment.n_postings() == 2 && segment.n_row_entries() == 3);
    for (std::uint32_t local = 0; local < 3; ++local) {
        const std::uint32_t row = (*made.order)[local];
        CHECK(segment.order().ranks[local] == row && segment.by_rank(row) == local);
        CHECK(segment.find(segment.id(local)) == local);
        const auto [first, last] = segment.row(local);
        CHECK(last - first == static_cast<std::uint64_t>(made.starts[row + 1] - made.starts[row]));
    }
    const std::uint32_t a = *segment.find("a");
    CHECK(segment.rows().impacts[segment.row(a).first + 1] == 40'000);
    CHECK(segment.find_impact(*segment.find_term(1), a) == 5 && !segment.find_term(4));
}

TEST(vectors_are_gathered_where_there_are_no_rows) {
    Corpus made = three_documents();
    made.rows = false;
    made.write(at("gathered"));
    const Segment segment(at("gathered"));
    CHECK(!segment.has_rows() && segment.n_row_entries() == 3);
    const auto rows = segment.gather_rows();
    CHECK(rows.starts == std::vector<std::uint64_t>{0, 2, 2, 3});
    CHECK(rows.terms == std::vector<std::uint32_t>{1, 4, 1});
    CHECK(rows.impacts == std::vector<std::uint16_t>{5, 255, 2});
    CHECK(check::throws<std::invalid_argument>([&] { segment.row(0); }));
    CHECK(check::throws<std::invalid_argument>([&] { segment.row(3); }));
}

TEST(the_writer_refuses_what_breaks_a_rule) {
    const Corpus good = three_documents();
    const auto refuses = [&good](auto change) {
        Corpus changed = good;
        change(changed);
        return is_refused(changed);
    };
    CHECK(refuses([](Corpus& c) { c.terms[0] = 50; }));
    CHECK(refuses([](Corpus& c) { c.terms[0] = -1; }));
    CHECK(refuses([](Corpus& c) { c.terms[0] = 4; }));
    CHECK(refuses([](Corpus& c) { c.terms[0] = 9; }));
    CHECK(refuses([](Corpus& c) { c.impacts[2] = 0; }));
    CHECK(refuses([](Corpus& c) { c.impacts.pop_back(); }));
    CHECK(refuses([](Corpus& c) { c.starts.clear(); }));
    CHECK(refuses([](Corpus& c) { c.starts[1] = 4; }));
    CHECK(refuses([](Corpus& c) { c.starts[0] = 1; }));
    CHECK(refuses([](Corpus& c) { c.starts[3] = 2; }));
    CHECK(refuses([](Corpus& c) { c.id_starts.pop_back(); }));
    CHECK(refuses([](Corpus& c) { c.id_starts[3] = 3; }));
    CHECK(refuses([](Corpus& c) { c.id_starts[1] = 3; }));
    CHECK(refuses([](Corpus& c) { c.id_bytes[1] = 'a'; }));
    CHECK(refuses([](Corpus& c) { c.id_bytes[3] = 'x'; }));
    CHECK(refuses([](Corpus& c) { c.order = {{0, 1}}; }));
    CHECK(refuses([](Corpus& c) { c.order = {{0, 1, 1}}; }));
    CHECK(refuses([](Corpus& c) { c.order = {{0, 1, 3}}; }));
    CHECK(refuses([](Corpus& c) { c.postings = {{1, 1}}; }));
    CHECK(refuses([](Corpus& c) { c.weights = {{0, 0}}; }));
    CHECK(refuses([](Corpus& c) { c.weights = {{0, 0x7C00, 0}}; }));
    CHECK(refuses([](Corpus& c) { c.weights = {{0, 0x8000, 0}}; }));
    CHECK(refuses([](Corpus& c) {
        c.prune();
        c.rows = false;
    }));
    CHECK(refuses([](Corpus& c) {
        c.weigh();
        c.rows = false;
    }));
    CHECK(refuses([](Corpus& c) { c.n_terms = everglade::format::kMaxTerms + 1; }));
}

TEST(an_empty_segment_is_a_segment) {
    Corpus().write(at("empty"));
    const Segment segment(at("empty"));
    CHECK(segment.n_documents() == 0 && !segment.find(""));
}

#if defined(__linux__)

/// Bytes of files that this process has in its memory.
std::size_t mapped_in() {
    std::ifstream counts("/proc/self/statm");
    std::size_t size = 0, resident = 0, shared = 0;
    counts >> size >> resident >> shared;
    return shared * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(of_a_file_that_was_verified_only_what_is_read_stays_in_memory) {
    Corpus made;
    for (std::size_t d = 0; d < 60'000; ++d) {
        corpus::Row row;
        for (std::int32_t term = 0; term < 12; ++term) row[term] = static_cast<std::uint16_t>(1 + d % 255);
        made.add(corpus::padded(d), row);
    }
    const auto size = made.write(at("large")).size_bytes;
    const std::size_t before = mapped_in();
    const Segment segment(at("large"));
    CHECK(mapped_in() < before + size / 8);
    const auto documents = segment.postings().documents;
    CHECK(std::accumulate(documents.begin(), documents.end(), std::uint64_t{0}) > 0);
    CHECK( mapped_in() > before + size / 8);
}

#endif

TEST(a_file_that_cannot_be_written_leaves_nothing) {
    CHECK(check::throws<everglade::FileError>([] { three_documents().write(at("no/folder")); }));
    std::filesystem::create_directories(at("taken"));
    CHECK(check::throws<everglade::FileError>([] { three_documents().write(at("taken")); }));
    CHECK(!std::filesystem::exists(at("taken.tmp")));
}

TEST(a_file_that_cannot_be_read_says_so) {
    CHECK(check::throws<everglade::FileError>([] { Segment(at("missing")); }));
    CHECK(check::throws<everglade::FileError>([] { Segment("/"); }));
    CHECK(check::throws<everglade::FileError>([] { Segment("/dev/null"); }));
}

TEST(utf8_is_told_from_other_bytes) {
    for (const char* good : {"", "a", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                             "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "a\xC3\xA9z"}) {
        CHECK(everglade::is_utf8(good));
    }
    for (const char* bad :
         {"\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2z", "\xE0\x9F\xBF", "\xE0\xA0", "\xED\xA0\x80", "\xE1\x80z",
          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xF1\x80\x80", "\xFF"}) {
        CHECK(!everglade::is_utf8(bad));
    }
}
