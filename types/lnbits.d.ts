// What LNbits gives to the page: its own helpers, and of the libraries it loads as much as
// is used here, with Vue's and Chart.js' own types.

import type {Chart as ChartJs} from 'chart.js/auto'
import type {
  ComponentObjectPropsOptions,
  ComponentOptionsMixin,
  ComponentOptionsBase,
  ComputedOptions,
  CreateComponentPublicInstanceWithMixins,
  ExtractPropTypes,
  MethodOptions,
  PropType,
  markRaw,
  reactive
} from '@vue/runtime-dom'

/** A component's options, which say what its `this` has. */
type Options<
  Props extends ComponentObjectPropsOptions,
  Data,
  Computed extends ComputedOptions,
  Methods extends MethodOptions,
  Given = Readonly<ExtractPropTypes<Props>>
> = ComponentOptionsBase<
  Given,
  {},
  Data,
  Computed,
  Methods,
  ComponentOptionsMixin,
  ComponentOptionsMixin,
  string[]
> & {props?: Props} & ThisType<
    CreateComponentPublicInstanceWithMixins<
      Given,
      {},
      Data,
      Computed,
      Methods,
      ComponentOptionsMixin,
      ComponentOptionsMixin,
      string[]
    >
  >

interface VueApp {
  component<
    Props extends ComponentObjectPropsOptions = {},
    Data = {},
    Computed extends ComputedOptions = {},
    Methods extends MethodOptions = {}
  >(
    name: string,
    options: Options<Props, Data, Computed, Methods>
  ): void
}

declare global {
  const Vue: {
    markRaw: typeof markRaw
    reactive: typeof reactive
    createApp<
      Data = {},
      Computed extends ComputedOptions = {},
      Methods extends MethodOptions = {}
    >(
      options: Options<{}, Data, Computed, Methods>
    ): VueApp
  }

  /** What a property of this type is declared with: `Object` has no fields. */
  type Prop<T> = PropType<T>

  const Chart: typeof ChartJs

  const Quasar: {
    Notify: {create(options: {message: string; color?: string}): void}
  }

  /** How a request fails. */
  interface ApiError {
    /** Missing: there was no answer. */
    response?: {
      status: number
      data?: {code?: string; detail?: string | {msg: string}[]}
    }
  }

  const LNbits: {
    api: {
      /** Throws an `ApiError` for any other status than 2xx. */
      request(
        method: string,
        url: string,
        key: string | null,
        data?: unknown
      ): Promise<{data: any}>
    }
    utils: {
      confirmDialog(text: string): {onOk(work: () => void): void}
      copyText(text: string): void
      notifyApiError(error: unknown): void
    }
  }

  interface Window {
    /** LNbits mounts it, after the page's scripts. */
    app: VueApp
    windowMixin: ComponentOptionsMixin
  }
}
