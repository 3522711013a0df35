/* error.c - what each error is called and says, from the one list in mtaio/base.h, and the version. */
#include <mtaio/base.h>

const char *mtaio_error_name(int error) {
    if (error >= 0)
        return "MTAIO_OK";
    switch (error) {
#define ERROR_NAME(name, value, text)                                                                        \
    case MTAIO_##name:                                                                                       \
        return "MTAIO_" #name;
        MTAIO_ERRORS(ERROR_NAME)
    default:
        return "MTAIO_E?";
    }
}

const char *mtaio_error_text(int error) {
    if (error >= 0)
        return "success";
    switch (error) {
#define ERROR_TEXT(name, value, text)                                                                        \
    case MTAIO_##name:                                                                                       \
        return text;
        MTAIO_ERRORS(ERROR_TEXT)
    default:
        return "an error of the program, not one of mtaio's";
    }
}

#define STRING(x) #x
#define VERSION(major, minor, patch) STRING(major) "." STRING(minor) "." STRING(patch)

const char *mtaio_version(void) {
    return VERSION(MTAIO_VERSION_MAJOR, MTAIO_VERSION_MINOR, MTAIO_VERSION_PATCH);
}
