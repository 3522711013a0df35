/* test_error.c - names and texts of errors, and the version. */
#include "support.h"

#include <limits.h>
#include <mtaio/base.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int error, value;
    const char *name, *text;
} errors[] = {
#define ROW(name, value, text) {MTAIO_##name, value, "MTAIO_" #name, text},
    MTAIO_ERRORS(ROW)};
#define ERRORS (sizeof errors / sizeof *errors)

/* "Every error: its name, its value, what it says." */
static void test_every_error(void **state) {
    (void)state;
    assert_string_equal(mtaio_error_name(MTAIO_EINVAL), "MTAIO_EINVAL");
    assert_string_equal(mtaio_error_text(MTAIO_ENOMEM), "out of memory");
    for (size_t i = 0; i < ERRORS; i++) {
        assert_int_equal(errors[i].error, errors[i].value);
        assert_string_equal(mtaio_error_name(errors[i].error), errors[i].name);
        assert_string_equal(mtaio_error_text(errors[i].error), errors[i].text);
    }
}

/* "A negative MTAIO_E...: failure": each is negative and like no other, in name and text too. */
static void test_errors_differ(void **state) {
    (void)state;
    for (size_t i = 0; i < ERRORS; i++) {
        assert_true(errors[i].error < 0);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(errors[i].error, errors[j].error);
            assert_string_not_equal(errors[i].name, errors[j].name);
            assert_string_not_equal(errors[i].text, errors[j].text);
        }
    }
}

/* '"MTAIO_OK" for 0 and above' */
static void test_success(void **state) {
    static const int numbers[] = {0, MTAIO_OK, 1, 1001, INT_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_string_equal(mtaio_error_name(numbers[i]), "MTAIO_OK");
        assert_string_equal(mtaio_error_text(numbers[i]), mtaio_error_text(0));
    }
}

/* '"MTAIO_E?" for a number that is not ours ... Static strings, never NULL.' */
static void test_not_ours(void **state) {
    const int numbers[] = {-1, -12, -1000, errors[ERRORS - 1].error - 1, INT_MIN};

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_string_equal(mtaio_error_name(numbers[i]), "MTAIO_E?");
        assert_true(strlen(mtaio_error_text(numbers[i])) > 0);
        assert_ptr_equal(mtaio_error_text(numbers[i]), mtaio_error_text(-1));
    }
}

/* 'The version of the library that is running, "0.1.0".' */
static void test_version(void **state) {
    char expected[32];

    (void)state;
    snprintf(expected, sizeof expected, "%d.%d.%d", MTAIO_VERSION_MAJOR, MTAIO_VERSION_MINOR,
             MTAIO_VERSION_PATCH);
    assert_string_equal(mtaio_version(), expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error), cmocka_unit_test(test_errors_differ),
        cmocka_unit_test(test_success),     cmocka_unit_test(test_not_ours),
        cmocka_unit_test(test_version),
    };

    support_init();
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
